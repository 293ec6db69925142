"""The sigmoid loss between images and captions."""

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor, nn

from kdeov_mm.models.losses.joined_batch import JoinedBatchLoss


@MODELS.register_module()
class SigmoidLoss(JoinedBatchLoss):
    """SigLIP's loss (Zhai et al. 2023): each image and each caption of the batch is a question of its own.

    With student images s, captions c, a learnt scale a and bias b, over the N pairs of all ranks::

        -1/N sum_ij log sigmoid(z_ij (a s_i.c_j + b)),    z_ij = 1 if i = j else -1

    Args:
        init_scale: Start of the scale; 10 in SigLIP.
        init_bias: Start of the bias; -10 in SigLIP, so that the many negatives weigh little at first.
        loss_weight: Factor.
    """

    max_logit_scale = float('inf')  # SigLIP's scale has no upper bound

    def __init__(
        self,
        init_scale: float = 10.0,
        init_bias: float = -10.0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(init_scale, loss_weight)
        self.bias = nn.Parameter(torch.tensor(float(init_bias)))

    def compare(self, student: Tensor, captions: Tensor) -> Tensor:
        """Normalised ``[N, D]`` embeddings. Scalar, >= 0."""
        logits = self.scale * student @ captions.T + self.bias
        sign = 2 * torch.eye(len(logits), device=logits.device) - 1
        return -F.logsigmoid(sign * logits).sum() / len(logits)
