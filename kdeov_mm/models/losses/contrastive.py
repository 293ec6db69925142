"""Contrastive losses between images and their captions."""

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor

from .joined_batch import JoinedBatchLoss


def diagonal_cross_entropy(logits: Tensor) -> Tensor:
    """Compute ``-1/N sum_i log softmax(logits[i])[i]`` of ``[N, N]`` logits."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


@MODELS.register_module()
class CrossModalAlignmentLoss(JoinedBatchLoss):
    """Computes the symmetric InfoNCE of images and their captions (van den Oord et al. 2018; Radford et al. 2021).

    With student images s, captions c and a learnt scale a, over the N pairs of all ranks::

        -1/2N sum_i [log softmax_j(a s_i.c_j)[i] + log softmax_j(a s_j.c_i)[i]]

    Args:
        init_scale: Initial logit scale; 1 / 0.07 in CLIP.
        loss_weight: Factor.
    """

    def compare(self, student: Tensor, captions: Tensor) -> Tensor:
        """Compare normalised ``[N, D]`` embeddings. Scalar, >= 0."""
        logits = self.scale * student @ captions.T
        return (diagonal_cross_entropy(logits) + diagonal_cross_entropy(logits.T)) / 2


@MODELS.register_module()
class InteractiveContrastiveLoss(JoinedBatchLoss):
    """Contrasts each tower with the teacher's other tower: ICL of CLIP-KD (Yang et al. 2024).

    With student images s, teacher images t, captions c and a learnt scale a, over the N pairs of all ranks::

        -1/2N sum_i [log softmax_j(a s_i.c_j)[i] + log softmax_j(a c_i.t_j)[i]]

    In CLIP-KD the student has a text tower of its own. Here it shares the teacher's frozen one, so the second term has
    a gradient for the scale only.

    Args:
        init_scale: Initial logit scale; 1 / 0.07 in CLIP.
        loss_weight: Factor; 1 in CLIP-KD.
    """

    inputs = ('student', 'teacher', 'captions')

    def compare(self, student: Tensor, teacher: Tensor, captions: Tensor) -> Tensor:
        """Compare normalised ``[N, D]`` embeddings. Scalar, >= 0."""
        images = diagonal_cross_entropy(self.scale * student @ captions.T)
        return (images + diagonal_cross_entropy(self.scale * captions @ teacher.T)) / 2
