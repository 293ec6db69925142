"""Losses between the student's embeddings and the frozen side's."""
import math
from typing import Optional

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class DistillationLoss(nn.Module):
    """Pulls the student's embedding to the teacher's embedding of the same image or region.

    Args:
        mode: ``cosine`` (1 - cos), ``l2`` (squared distance) or ``smooth_l1`` (Girshick 2015), summed over D.
        loss_weight: Factor.
    """

    def __init__(self, mode: str = 'cosine', loss_weight: float = 1.0) -> None:
        super().__init__()
        if mode not in ('cosine', 'l2', 'smooth_l1'):
            raise ValueError(f'mode: {mode!r} is unknown; choose cosine, l2 or smooth_l1')
        self.mode, self.loss_weight = mode, loss_weight

    def forward(self, student: Tensor, teacher: Tensor, weight: Optional[Tensor] = None) -> Tensor:
        """Compare normalised embeddings ``[N, D]``; ``weight`` ``[N]`` makes the mean a weighted one. Scalar, >= 0."""
        if self.mode == 'cosine':
            loss = 1 - F.cosine_similarity(student, teacher, dim=-1)
        elif self.mode == 'l2':
            loss = (student - teacher).square().sum(-1)
        else:
            loss = F.smooth_l1_loss(student, teacher, reduction='none').sum(-1)
        return self.loss_weight * weighted_mean(loss, weight)


@MODELS.register_module()
class SimilarityDistillationLoss(nn.Module):
    """KL divergence between the teacher's and the student's similarities to a bank of texts.

    The affinity mimicking of TinyCLIP (Wu et al. 2023) with a fixed bank in place of the batch's texts.

    Args:
        scale: Factor from cosine similarity to logit, the inverse of a temperature.
        loss_weight: Factor.
    """

    def __init__(self, scale: float = 20.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.scale, self.loss_weight = scale, loss_weight

    def forward(self, student: Tensor, teacher: Tensor, texts: Tensor, weight: Optional[Tensor] = None) -> Tensor:
        """Compare normalised ``[N, D]`` embeddings over normalised texts ``[K, D]``. Scalar, >= 0."""
        target = (self.scale * teacher @ texts.T).log_softmax(-1)
        prediction = (self.scale * student @ texts.T).log_softmax(-1)
        loss = F.kl_div(prediction, target, log_target=True, reduction='none').sum(-1)
        return self.loss_weight * weighted_mean(loss, weight)


@MODELS.register_module()
class CrossModalAlignmentLoss(nn.Module):
    """Symmetric InfoNCE between images and their captions (van den Oord et al. 2018; Radford et al. 2021).

    Args:
        init_scale: Start of the learnt factor from cosine similarity to logit; 1 / 0.07 in CLIP.
        max_scale: Its upper bound; 100 in CLIP.
        loss_weight: Factor.
    """

    def __init__(self, init_scale: float = 1 / 0.07, max_scale: float = 100., loss_weight: float = 1.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(init_scale)))
        self.max_scale, self.loss_weight = max_scale, loss_weight

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """Contrast normalised ``[N, D]`` embeddings, row i of one belonging to row i of the other. Scalar, >= 0."""
        logits = self.log_scale.exp().clamp(max=self.max_scale) * images @ texts.T
        target = torch.arange(len(images), device=images.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        return self.loss_weight * loss


def weighted_mean(values: Tensor, weight: Optional[Tensor]) -> Tensor:
    """The mean of ``[N]`` values, weighted by ``[N]`` weights where given; 0 for N = 0."""
    if weight is None:
        weight = torch.ones_like(values)
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
