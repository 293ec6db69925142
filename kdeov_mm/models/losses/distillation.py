"""Losses of one embedding at a time: image or region."""

from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DistillationLoss(nn.Module):
    """Pulls the student's embedding s to the teacher's embedding t of the same image or region.

    The mean of ``1 - s.t / |s||t|``. Embeddings are normalised, so that twice this loss is the squared distance of
    CLIP-KD's feature distillation (Yang et al. 2024).

    Args:
        loss_weight: Factor.
    """

    inputs: Sequence[str] = ('student', 'teacher')

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, student: Tensor, teacher: Tensor, weight: Optional[Tensor] = None) -> Tensor:
        """Compare normalised embeddings ``[N, D]``; ``weight`` ``[N]`` makes the mean a weighted one. Scalar, >= 0."""
        loss = 1 - F.cosine_similarity(student, teacher, dim=-1)
        return self.loss_weight * weighted_mean(loss, weight)


@MODELS.register_module()
class SimilarityDistillationLoss(nn.Module):
    """KL divergence between the teacher's and the student's similarities to a bank of texts.

    The affinity mimicking of TinyCLIP (Wu et al. 2023) with a fixed bank in place of the batch's texts. The mean of::

        KL(softmax_k(a t.v_k) || softmax_k(a s.v_k))

    for student s, teacher t, texts v and the scale a.

    Args:
        scale: Factor from cosine similarity to logit, the inverse of a temperature.
        loss_weight: Factor.
    """

    inputs: Sequence[str] = ('student', 'teacher', 'vocabulary')

    def __init__(self, scale: float = 20.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.scale, self.loss_weight = scale, loss_weight

    def forward(self, student: Tensor, teacher: Tensor, texts: Tensor, weight: Optional[Tensor] = None) -> Tensor:
        """Compare normalised ``[N, D]`` embeddings over normalised texts ``[K, D]``. Scalar, >= 0."""
        target = (self.scale * teacher @ texts.T).log_softmax(-1)
        prediction = (self.scale * student @ texts.T).log_softmax(-1)
        loss = F.kl_div(prediction, target, log_target=True, reduction='none').sum(-1)
        return self.loss_weight * weighted_mean(loss, weight)


def weighted_mean(values: Tensor, weight: Optional[Tensor]) -> Tensor:
    """The mean of ``[N]`` values, weighted by ``[N]`` weights where given; 0 for N = 0."""
    if weight is None:
        weight = torch.ones_like(values)
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
