"""Losses of single embeddings of images or regions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DistillationLoss(nn.Module):
    """Pulls the student's embedding s to the teacher's embedding t of the same image or region.

    The mean of ``1 - s.t / |s||t|``. Embeddings are normalised, so twice this loss is the squared distance of
    CLIP-KD's feature distillation (Yang et al. 2024).

    Args:
        loss_weight: Factor.
    """

    inputs: Sequence[str] = ('student', 'teacher')

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Tensor, teacher: Tensor, weight: Tensor | None = None) -> Tensor:
        """Compare normalised embeddings ``[N, D]``, weighted by ``weight`` ``[N]`` if given. Scalar, >= 0."""
        loss = 1 - F.cosine_similarity(student, teacher, dim=-1)
        return self.loss_weight * weighted_mean(loss, weight)


@MODELS.register_module()
class SimilarityDistillationLoss(nn.Module):
    """Computes the KL divergence between the teacher's and the student's similarities to the class embeddings.

    This is the affinity mimicking of TinyCLIP (Wu et al. 2023) with fixed class embeddings in place of the batch's
    texts. The loss is the mean of::

        KL(softmax_k(a t.v_k) || softmax_k(a s.v_k))

    for student s, teacher t, class embeddings v and the scale a.

    Args:
        scale: Logit scale, the inverse of a temperature.
        loss_weight: Factor.
    """

    inputs: Sequence[str] = ('student', 'teacher', 'vocabulary')

    def __init__(self, scale: float = 20.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.scale, self.loss_weight = scale, loss_weight

    def forward(
        self, student: Tensor, teacher: Tensor, class_embeddings: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """Compare normalised embeddings ``[N, D]`` by their similarities to class embeddings.

        Args:
            student, teacher: L2-normalised, ``[N, D]``.
            class_embeddings: L2-normalised, ``[K, D]``.
            weight: Weight of each row in the mean, ``[N]``; None: equal weights.

        Returns:
            Tensor: Scalar, >= 0.
        """
        target = (self.scale * teacher @ class_embeddings.T).log_softmax(-1)
        prediction = (self.scale * student @ class_embeddings.T).log_softmax(-1)
        loss = F.kl_div(prediction, target, log_target=True, reduction='none').sum(-1)
        return self.loss_weight * weighted_mean(loss, weight)


def weighted_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of ``[N]`` values, weighted by ``[N]`` weights if given; 0 for N = 0."""
    if weight is None:
        weight = torch.ones_like(values)
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
