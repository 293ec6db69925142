"""Text-guided fusion between backbone and neck."""
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmyolo.models.utils import make_divisible
from mmyolo.registry import MODELS
from torch import Tensor, nn


class TextGuidedFusion(BaseModule):
    """Base class: a fusion changes the backbone's features given a set of text embeddings, or leaves them alone.

    Args:
        in_channels: Channels of the backbone's levels, before ``widen_factor``.
        text_dims: Dimension D of the text embeddings.
        widen_factor: The backbone's width multiplier.
    """

    def __init__(self, in_channels: Sequence[int], text_dims: int, widen_factor: float = 1.0,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.in_channels = [make_divisible(channels, widen_factor) for channels in in_channels]
        self.text_dims = text_dims

    def forward(self, feats: Sequence[Tensor], texts: Optional[Tensor] = None) -> Tuple[Tensor, ...]:
        """Fuse.

        Args:
            feats: One ``[B, C_l, H_l, W_l]`` for each level.
            texts: The vocabulary's embeddings ``[K, D]``; their order has no influence. None: no guidance.

        Returns:
            tuple: Features of the same shapes; ``feats`` themselves where ``texts`` is None.
        """
        if texts is None:
            return tuple(feats)
        return self.fuse(feats, texts)


@MODELS.register_module()
class FiLMFusion(TextGuidedFusion):
    """Feature-wise linear modulation by the vocabulary's mean embedding (Perez et al. 2018, "FiLM").

    Each level becomes ``(1 + gamma) * x + beta``. Gamma and beta start at zero, so that guidance starts as the exact
    identity; for a fixed vocabulary they are constants, which fold into the neck's first convolutions.

    Args:
        hidden_dims: Width of the hidden layer between text and gamma, beta.
    """

    def __init__(self, in_channels: Sequence[int], text_dims: int, widen_factor: float = 1.0, hidden_dims: int = 128,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, text_dims, widen_factor, init_cfg)
        self.hidden = nn.Sequential(nn.Linear(text_dims, hidden_dims), nn.SiLU())
        self.modulation = nn.Linear(hidden_dims, 2 * sum(self.in_channels))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def gamma_beta(self, texts: Tensor) -> Tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The modulation for a vocabulary ``[K, D]``: gamma and beta, ``[C_l]`` for each level."""
        context = F.normalize(texts.mean(dim=0), dim=-1)
        gamma, beta = self.modulation(self.hidden(context)).chunk(2)
        return gamma.split(self.in_channels), beta.split(self.in_channels)

    def fuse(self, feats: Sequence[Tensor], texts: Tensor) -> Tuple[Tensor, ...]:
        gammas, betas = self.gamma_beta(texts)
        return tuple(x * (1 + gamma.view(1, -1, 1, 1)) + beta.view(1, -1, 1, 1)
                     for x, gamma, beta in zip(feats, gammas, betas))


@MODELS.register_module()
class CrossAttentionFusion(TextGuidedFusion):
    """Each position of the feature map attends to the vocabulary's embeddings (Vaswani et al. 2017).

    The result is added to the features through a projection that starts at zero: identity at initialisation.

    Args:
        embed_dims: Width of queries, keys and values.
        num_heads: Attention heads; divides ``embed_dims``.
        levels: Indices of the levels that attend; None means all.
    """

    def __init__(self, in_channels: Sequence[int], text_dims: int, widen_factor: float = 1.0, embed_dims: int = 64,
                 num_heads: int = 4, levels: Optional[Sequence[int]] = None, init_cfg: Optional[dict] = None) -> None:
        super().__init__(in_channels, text_dims, widen_factor, init_cfg)
        self.levels = tuple(range(len(self.in_channels)) if levels is None else levels)
        if not set(self.levels) <= set(range(len(self.in_channels))):
            raise ValueError(f'levels: {levels} are not among the {len(self.in_channels)} levels of in_channels')
        self.query = nn.ModuleList(nn.Linear(self.in_channels[i], embed_dims) for i in self.levels)
        self.output = nn.ModuleList(nn.Linear(embed_dims, self.in_channels[i]) for i in self.levels)
        self.text = nn.Linear(text_dims, embed_dims)
        self.attention = nn.MultiheadAttention(embed_dims, num_heads, batch_first=True)
        for layer in self.output:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def fuse(self, feats: Sequence[Tensor], texts: Tensor) -> Tuple[Tensor, ...]:
        feats = list(feats)
        keys = self.text(texts).expand(len(feats[0]), -1, -1)
        for i, query, output in zip(self.levels, self.query, self.output):
            positions = feats[i].flatten(2).transpose(1, 2)
            attended, _ = self.attention(query(positions), keys, keys, need_weights=False)
            feats[i] = feats[i] + output(attended).transpose(1, 2).view_as(feats[i])
        return tuple(feats)
