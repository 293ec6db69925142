"""The metric of classification by scores, and the base of all metrics of classification."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmyolo.registry import METRICS
from torch import Tensor

from . import pictures
from .base import RoleMetric
from .classification import class_averages, draw_confusion, rank_labels, topk_accuracy, write_class_files


class ClassificationMixin:
    """Labels, accuracies and files of a :class:`~kdeov_mm.evaluation.base.RoleMetric` that classifies.

    Args:
        topk: The values of k.
        per_class: Also measure the classes one by one: adds ``all/mean_per_class``, ``all/precision``, ``all/recall``
            and ``all/f1``, see :func:`~kdeov_mm.evaluation.classification.class_averages`, and to the report
            ``*_per_class.csv``, ``*_confusion.csv`` and ``*_confused_pairs.csv`` of the student.
    """

    def __init__(self, *args, topk: Sequence[int] = (1, 5), per_class: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.topk, self.per_class = topk, per_class

    def read_target(self, sample: dict) -> dict:
        """Read the label of the image's class.

        Raises:
            ValueError: If the data sample has no ``gt_label``.
        """
        if sample.get('gt_label') is None:
            raise ValueError(
                f'{sample.get("img_path")}: the data sample has no gt_label; set gt_label=True in the data '
                "set and 'gt_label' in PackDetInputs' meta_keys"
            )
        return dict(label=int(sample['gt_label']))

    def read_labels(self, results: list[dict], num_classes: int) -> Tensor:
        """Return the labels, int64 ``[N]``.

        Raises:
            ValueError: If one is not in [0, num_classes).
        """
        for result in results:
            if not 0 <= result['label'] < num_classes:
                raise ValueError(f'{result["img_path"]}: gt_label {result["label"]} is not in [0, {num_classes})')
        return torch.tensor([result['label'] for result in results])

    def measure(
        self, ranked: dict[str, tuple[Tensor, Tensor]], labels: Tensor, classes: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """Metrics of each role and of chance.

        Args:
            ranked: Role to ranks and predictions, see :func:`~kdeov_mm.evaluation.classification.rank_labels`.
            labels: int64 ``[N]``.
            classes: K names.
        """
        self.labels = labels
        self.predictions = {role: predictions for role, (_, predictions) in ranked.items()}
        groups = self.group_members()
        values = {role: topk_accuracy(ranks, labels, groups, self.topk) for role, (ranks, _) in ranked.items()}
        values['chance'] = {name: min(int(name.rsplit('/top', 1)[1]) / len(classes), 1.0) for name in values['student']}
        if self.per_class:
            for role, predictions in self.predictions.items():
                averages = class_averages(predictions, labels, len(classes))
                values[role].update({f'all/{name}': value for name, value in averages.items()})
            values['chance']['all/mean_per_class'] = 1 / len(classes)
        return values

    def draw(self, out_dir: Path) -> list[Path]:
        """Draw the student's confusion matrix by supercategory or class (of many only if ``per_class``), and write the
        files of the classes."""
        predictions, classes = self.predictions['student'], distinct(self.dataset_meta['classes'])
        kinds = list(self.dataset_meta.get('supercategories') or classes)
        names = list(dict.fromkeys(kinds))
        index = {name: i for i, name in enumerate(names)}
        kind = torch.tensor([index[name] for name in kinds])
        files = []
        if self.per_class or len(names) <= pictures.MAX_CONFUSION:
            path = out_dir / f'{self.task}_confusion.png'
            files += draw_confusion(kind[predictions], kind[self.labels], names, path)
        if self.per_class:
            files += write_class_files(predictions, self.labels, classes, self.class_groups(), self.task, out_dir)
        return files


def distinct(names: Sequence[str]) -> list[str]:
    """Return names, with the index added to duplicates."""
    seen = set()
    return [f'{name} ({i})' if name in seen or seen.add(name) else name for i, name in enumerate(names)]


@METRICS.register_module()
class ClassificationMetric(ClassificationMixin, RoleMetric):
    """Top-k accuracy of a classifier's scores, over all images and by group.

    Needs the data set's ``classes`` and each data sample's ``gt_label`` (int) and ``pred_score``, ``[K]``: logits or
    probabilities. All else is as in :class:`~kdeov_mm.evaluation.ZeroShotMetric`, so that the two compare.

    Args:
        topk, per_class: See :class:`ClassificationMixin`.
        **kwargs: See :class:`~kdeov_mm.evaluation.base.RoleMetric`.
    """

    default_prefix = 'classification'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of one batch of data samples (as dicts)."""
        for sample in data_samples:
            image = str(sample.get('img_path', sample.get('img_id')))
            if sample.get('pred_score') is None:
                raise ValueError(f'{image}: the data sample has no pred_score; does the model fill it in predict()?')
            score = torch.as_tensor(sample['pred_score']).detach().float().cpu()
            if not score.isfinite().all():
                raise ValueError(f'{image}: pred_score holds NaN or infinity; the image or the weights are damaged')
            self.results.append(dict(img_path=image, score=score, **self.read_target(sample)))

    def compute_by_role(self, results: list[dict]) -> dict[str, dict[str, float]]:
        """Accuracy of the classifier and of chance (k / K).

        Raises:
            ValueError: If the classifier's scores are not one for each class of the data set.
        """
        classes = self.require_meta('classes')
        labels = self.read_labels(results, len(classes))
        for result in results:
            if result['score'].shape != (len(classes),):
                raise ValueError(
                    f'{result["img_path"]}: pred_score has shape {list(result["score"].shape)}, but the '
                    f'data set has {len(classes)} classes; set num_classes of the model'
                )
        scores = torch.stack([result['score'] for result in results]).double()
        return self.measure(dict(student=rank_labels(scores, labels)), labels, classes)
