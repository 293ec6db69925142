"""Losses between the teacher's and the student's image-text similarities in a batch."""

from typing import Iterator, Tuple

import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor

from .joined_batch import JoinedBatchLoss


class RelationalLoss(JoinedBatchLoss):
    """Base of the losses between two softmax distributions over a batch's captions, and over its images.

    Args:
        teacher_scale: The teacher's factor from cosine similarity to logit, fixed; 100 in CLIP.
        init_scale: Start of the student's learnt one; 1 / 0.07 in CLIP.
        max_scale: Its upper bound.
        loss_weight: Factor.

    Raises:
        ValueError: A scale is not positive.
    """

    inputs = ('student', 'teacher', 'captions')

    def __init__(
        self,
        teacher_scale: float = 100.0,
        init_scale: float = 1 / 0.07,
        max_scale: float = 100.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(init_scale, max_scale, loss_weight)
        if teacher_scale <= 0:
            raise ValueError(f'teacher_scale: must be positive, got {teacher_scale}')
        self.teacher_scale = teacher_scale

    def log_distributions(self, student: Tensor, teacher: Tensor, captions: Tensor) -> Iterator[Tuple[Tensor, Tensor]]:
        """Student's and teacher's log-probabilities ``[N, N]``: of the captions given each image, then of the images
        given each caption."""
        student, teacher = self.scale * student @ captions.T, self.teacher_scale * teacher @ captions.T
        yield student.log_softmax(-1), teacher.log_softmax(-1)
        yield student.T.log_softmax(-1), teacher.T.log_softmax(-1)


@MODELS.register_module()
class ContrastiveRelationalLoss(RelationalLoss):
    """Contrastive relational distillation, CRD, of CLIP-KD (Yang et al. 2024).

    With student images s, teacher images t and captions c, over the N pairs of all ranks::

        P_i  = softmax_j(b t_i.c_j)    Q_i  = softmax_j(a s_i.c_j)
        P'_i = softmax_j(b c_i.t_j)    Q'_i = softmax_j(a c_i.s_j)
        1/N sum_i [KL(P_i || Q_i) + KL(P'_i || Q'_i)]

    The captions are the teacher's for both: the student shares its text tower.

    Args:
        teacher_scale: b, the teacher's factor from cosine similarity to logit, fixed; 100 in CLIP.
        init_scale: Start of a, the student's learnt one; 1 / 0.07 in CLIP.
        max_scale: Its upper bound.
        loss_weight: Factor; 1 in CLIP-KD.
    """

    def compare(self, student: Tensor, teacher: Tensor, captions: Tensor) -> Tensor:
        """Normalised ``[N, D]`` embeddings. Scalar, >= 0."""
        return sum(
            F.kl_div(q, p, log_target=True, reduction='batchmean')
            for q, p in self.log_distributions(student, teacher, captions)
        )
