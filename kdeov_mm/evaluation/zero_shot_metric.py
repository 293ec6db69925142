"""Zero-shot classification."""

from collections.abc import Sequence

import torch
from mmyolo.registry import METRICS
from torch import Tensor

from .base import EmbeddingMetric, similarity
from .classification import rank_labels, topk_accuracy
from .classification_metric import ClassificationMixin

BLOCK = 4096  # images whose similarities to all texts are in memory at one time


@METRICS.register_module()
class ZeroShotMetric(ClassificationMixin, EmbeddingMetric):
    """Top-k accuracy of images against the prompts of all class names, over all images and by group.

    All names compete in every image; the image's class decides its group. A class whose text scores the same
    as the right one counts as ranked before it. Of classes of one name, of which OpenCLIP's names of ImageNet have two
    pairs, the first is predicted. Needs the data set's ``classes`` and each data sample's ``gt_label`` (int); uses the
    data set's ``groups`` and, for the confusion matrix, ``supercategories``, one for each class.

    Args:
        text_encoder: Config of the text encoder.
        templates: Prompt templates, a set's name or a list.
        topk: The values of k.
        per_class: See :class:`~kdeov_mm.evaluation.classification_metric.ClassificationMixin`.
        **kwargs: See :class:`~kdeov_mm.evaluation.base.EmbeddingMetric`.

    Examples:
        >>> images, texts = torch.eye(3), torch.eye(3)
        >>> labels, groups = torch.tensor([0, 1, 0]), {'all': torch.ones(3, dtype=bool)}
        >>> ZeroShotMetric.calculate(images, texts, labels, groups)
        {'all/top1': 0.6666666666666666, 'all/top5': 1.0}
    """

    default_prefix = 'zero_shot'

    @staticmethod
    def calculate(
        images: Tensor, texts: Tensor, labels: Tensor, groups: dict[str, Tensor], topk: Sequence[int] = (1, 5)
    ) -> dict[str, float]:
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
        ranks, _ = rank_labels(similarity(images, texts), labels)
        return topk_accuracy(ranks, labels, groups, topk)

    def compute_by_role(self, results: list[dict]) -> dict[str, dict[str, float]]:
        """Accuracy of student, teacher and chance (k / K)."""
        classes = self.require_meta('classes')
        labels = self.read_labels(results, len(classes))
        embeddings = self.stack(results)
        first = {name: i for i, name in reversed(list(enumerate(classes)))}
        texts = self.embed(list(dict.fromkeys(classes)))
        order = {name: i for i, name in enumerate(dict.fromkeys(classes))}
        texts = texts[[order[name] for name in classes]]
        duplicates = torch.tensor([first[name] for name in classes]) if len(order) < len(classes) else None
        ranked = {role: rank_images(images, texts, labels, duplicates) for role, images in embeddings.items()}
        return self.measure(ranked, labels, classes)


def rank_images(images: Tensor, texts: Tensor, labels: Tensor, duplicates: Tensor | None = None) -> tuple:
    """:func:`rank_labels` of embeddings ``[N, D]`` and ``[K, D]``, block by block."""
    parts = [
        rank_labels(similarity(images[block], texts), labels[block], duplicates)
        for block in torch.arange(len(images)).split(BLOCK)
    ]
    return tuple(torch.cat(part) for part in zip(*parts))
