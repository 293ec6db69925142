"""Zero-shot classification."""
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
import torch
from mmyolo.registry import METRICS
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from . import pictures
from .base import EmbeddingMetric, pessimistic_rank, similarity


@METRICS.register_module()
class ZeroShotMetric(EmbeddingMetric):
    """Top-k accuracy of images against the prompts of all class names, over all images and by group.

    All names compete in every image; the image's class decides its group. A class whose text scores the same
    as the right one counts as ranked before it. Needs the data set's ``classes`` and each data sample's
    ``gt_label`` (int); uses the data set's ``groups`` and, for the confusion matrix, ``supercategories``,
    one for each class.

    Args:
        text_encoder: Config of the text encoder.
        templates: Prompt templates, a set's name or a list.
        topk: The values of k.
        **kwargs: See :class:`~kdeov_mm.evaluation.base.EmbeddingMetric`.

    Examples:
        >>> images, texts = torch.eye(3), torch.eye(3)
        >>> labels, groups = torch.tensor([0, 1, 0]), {'all': torch.ones(3, dtype=bool)}
        >>> ZeroShotMetric.calculate(images, texts, labels, groups)
        {'all/top1': 0.6666666666666666, 'all/top5': 1.0}
    """

    default_prefix = 'zero_shot'

    def __init__(self, *args, topk: Sequence[int] = (1, 5), **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.topk = topk

    def read_target(self, sample: dict) -> dict:
        """The label of the image's class.

        Raises:
            ValueError: The data sample has no ``gt_label``.
        """
        if sample.get('gt_label') is None:
            raise ValueError(
                f'{sample.get("img_path")}: the data sample has no gt_label; set gt_label=True in the data '
                "set and 'gt_label' in PackDetInputs' meta_keys")
        return dict(label=int(sample['gt_label']))

    @staticmethod
    def calculate(images: Tensor,
                  texts: Tensor,
                  labels: Tensor,
                  groups: Dict[str, Tensor],
                  topk: Sequence[int] = (1, 5)) -> Dict[str, float]:
        """Top-k accuracy.

        Args:
            images: ``[N, D]``.
            texts: ``[K, D]``.
            labels: int64 ``[N]`` in [0, K).
            groups: Name to bool mask over classes, ``[K]``.
            topk: The values of k.

        Returns:
            dict: ``{group}/top{k}`` to accuracy in [0, 1]; groups without images are left out.
        """
        scores = similarity(images, texts)
        rank = pessimistic_rank(scores, scores.gather(1, labels[:, None])[:, 0])
        members = {name: torch.as_tensor(mask)[labels] for name, mask in groups.items()}
        return {
            f'{name}/top{k}': (rank[member] < k).double().mean().item()
            for name, member in members.items() if member.any() for k in topk
        }

    def compute_by_role(self, results: List[dict]) -> Dict[str, Dict[str, float]]:
        """Accuracy of student, teacher and chance (k / K)."""
        classes = self.require_meta('classes')
        labels = torch.tensor([result['label'] for result in results])
        bad = [result for result in results if not 0 <= result['label'] < len(classes)]
        if bad:
            raise ValueError(
                f'{bad[0]["img_path"]}: gt_label {bad[0]["label"]} is not in [0, {len(classes)})')
        texts = self.embed(classes)
        embeddings = self.stack(results)
        groups = self.group_members()
        values = {
            role: self.calculate(images, texts, labels, groups, self.topk)
            for role, images in embeddings.items()
        }
        values['chance'] = {
            name: min(int(name.rsplit('/top', 1)[1]) / len(classes), 1.)
            for name in values['student']
        }
        self.labels = labels
        self.predictions = {role: similarity(images, texts).argmax(1) for role, images in embeddings.items()}
        return values

    def draw(self, out_dir: Path) -> List[Path]:
        """Draw the student's confusion matrix by supercategory or class, unless it would be unreadable."""
        names = list(self.dataset_meta.get('supercategories') or self.dataset_meta['classes'])
        kinds = list(dict.fromkeys(names))
        if len(kinds) > pictures.MAX_CONFUSION or len(kinds) < 2:
            return []
        kind = torch.tensor([kinds.index(name) for name in names])
        counts = multiclass_confusion_matrix(kind[self.predictions['student']], kind[self.labels], len(kinds))
        return [pictures.confusion_matrix(np.asarray(counts), kinds, out_dir / f'{self.task}_confusion.png')]
