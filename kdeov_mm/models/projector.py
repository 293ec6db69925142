"""Pooling and projection of the neck's features to the teacher's embedding space."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmyolo.models.utils import make_divisible
from mmyolo.registry import MODELS
from torch import Tensor, nn

HIDDEN_DIMS = 512


@MODELS.register_module()
class Projector(BaseModule):
    """Pools every level by mean and maximum, and projects with a two-layer perceptron.

    Args:
        in_channels: Channels of the neck's levels, before ``widen_factor``.
        embed_dims: Dimension D of the embedding, that of the teacher.
        widen_factor: The neck's width multiplier.
        init_cfg: Initialisation of MMEngine.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        embed_dims: int,
        widen_factor: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        pooled = 2 * sum(make_divisible(channels, widen_factor) for channels in in_channels)
        self.embed_dims = embed_dims
        self.layers = nn.Sequential(
            nn.Linear(pooled, HIDDEN_DIMS, bias=False),
            nn.BatchNorm1d(HIDDEN_DIMS),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIMS, embed_dims),
        )

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Embed ``[B, C_l, H_l, W_l]`` features; float32, L2-normalised, ``[B, D]``."""
        pooled = [pool(x, 1).flatten(1) for x in feats for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)]
        return F.normalize(self.layers(torch.cat(pooled, dim=1)).float(), dim=-1)
