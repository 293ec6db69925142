"""Text-conditioned fusion between backbone and neck."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmyolo.models.utils import make_divisible
from mmyolo.registry import MODELS
from torch import Tensor, nn

HIDDEN_DIMS = 128  # of the layer between class embeddings and gamma, beta


class TextGuidedFusion(BaseModule):
    """Conditions the backbone's features on a set of class embeddings; the base class of fusions.

    A subclass implements ``fuse``. The neck gets what it returns.

    Args:
        in_channels: Channels of the backbone's levels, before ``widen_factor``.
        embed_dims: Dimension D of the class embeddings; the model sets it.
        widen_factor: The backbone's width multiplier.
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
        self.in_channels = [make_divisible(channels, widen_factor) for channels in in_channels]
        self.embed_dims = self.text_dims = embed_dims  # text_dims: its name before 0.2

    def forward(
        self, feats: Sequence[Tensor], class_embeddings: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Condition features on class embeddings.

        Args:
            feats: One ``[B, C_l, H_l, W_l]`` for each level.
            class_embeddings: One set for all images, ``[K, D]``, or one for each image, ``[B, K, D]``; their order has
                no influence. None: unconditional.
            mask: True for the class embeddings that count, ``[B, K]`` of bool; None: all. The others have no influence,
                whatever their values. An image without any stays unconditional.

        Returns:
            tuple: Features of the same shapes; ``feats`` themselves where ``class_embeddings`` is None.

        Raises:
            ValueError: If the shapes do not fit each other.
        """
        if class_embeddings is None:
            return tuple(feats)
        self.check(feats, class_embeddings, mask)
        if mask is None:
            return tuple(self.fuse(feats, class_embeddings, None))
        class_embeddings = torch.where(mask[..., None], class_embeddings, 0.0)  # [B, K, D]
        conditioned = mask.any(-1)
        # An empty set counts as a full one of zeros: a softmax over no element would be NaN.
        fused = self.fuse(feats, class_embeddings, mask | ~conditioned[:, None])
        return tuple(torch.where(conditioned[:, None, None, None], new, old) for new, old in zip(fused, feats))

    def fuse(self, feats: Sequence[Tensor], class_embeddings: Tensor, mask: Tensor | None) -> Sequence[Tensor]:
        """Condition the features of all levels; see :meth:`forward`, which has checked the arguments.

        With a mask, class embeddings that do not count are zero, and each image has at least one that counts.
        """
        raise NotImplementedError

    def check(self, feats: Sequence[Tensor], class_embeddings: Tensor, mask: Tensor | None) -> None:
        """Raise ValueError for shapes that do not fit each other; see ``forward``."""
        batch, shape = len(feats[0]), tuple(class_embeddings.shape)
        if len(shape) < 2 or shape[-1] != self.embed_dims or not shape[-2] or shape[:-2] not in ((), (batch,)):
            raise ValueError(
                f'class_embeddings: expected [K, {self.embed_dims}] or [{batch}, K, {self.embed_dims}] with K > 0, '
                f'got {list(shape)}'
            )
        if mask is not None and (tuple(mask.shape) != (batch, shape[-2]) or mask.dtype != torch.bool):
            raise ValueError(f'mask: expected [{batch}, {shape[-2]}] of bool, got {list(mask.shape)} of {mask.dtype}')


@MODELS.register_module()
class FiLMFusion(TextGuidedFusion):
    """Feature-wise linear modulation by the vocabulary's mean embedding (Perez et al. 2018, "FiLM").

    Each level becomes ``(1 + gamma) * x + beta``. Gamma and beta start at zero, so the fusion starts as the
    identity. For a fixed vocabulary they are constants, which fold into the neck's first convolutions.

    Args:
        in_channels, embed_dims, widen_factor, init_cfg: See :class:`TextGuidedFusion`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        embed_dims: int,
        widen_factor: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, embed_dims, widen_factor, init_cfg)
        self.hidden = nn.Sequential(nn.Linear(embed_dims, HIDDEN_DIMS), nn.SiLU())
        self.modulation = nn.Linear(HIDDEN_DIMS, 2 * sum(self.in_channels))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def gamma_beta(self, class_embeddings: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Compute gamma and beta, ``[..., C_l]`` for each level, from sets of class embeddings ``[..., K, D]``.

        Rows of zeros have no influence, as the mean is normalised.
        """
        context = F.normalize(class_embeddings.mean(dim=-2), dim=-1)
        gamma, beta = self.modulation(self.hidden(context)).chunk(2, dim=-1)
        return gamma.split(self.in_channels, dim=-1), beta.split(self.in_channels, dim=-1)

    def fuse(self, feats: Sequence[Tensor], class_embeddings: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Scale and shift each channel; zeros do not change the normalised mean, so the mask is not needed."""
        gammas, betas = self.gamma_beta(class_embeddings)
        return [
            x * (1 + gamma[..., None, None]) + beta[..., None, None] for x, gamma, beta in zip(feats, gammas, betas)
        ]


@MODELS.register_module()
class CrossAttentionFusion(TextGuidedFusion):
    """Lets each position of the feature map attend to the vocabulary's embeddings (Vaswani et al. 2017).

    A projection that starts at zero adds the result to the features, so the fusion starts as the identity.

    Args:
        in_channels, embed_dims, widen_factor, init_cfg: See :class:`TextGuidedFusion`.
        attn_dims: Width of queries, keys and values.
        num_heads: Attention heads; divides ``attn_dims``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        embed_dims: int,
        widen_factor: float = 1.0,
        attn_dims: int = 64,
        num_heads: int = 4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, embed_dims, widen_factor, init_cfg)
        self.query = nn.ModuleList(nn.Linear(channels, attn_dims) for channels in self.in_channels)
        self.output = nn.ModuleList(nn.Linear(attn_dims, channels) for channels in self.in_channels)
        self.text = nn.Linear(embed_dims, attn_dims)
        self.attention = nn.MultiheadAttention(attn_dims, num_heads, batch_first=True)
        for layer in self.output:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def fuse(self, feats: Sequence[Tensor], class_embeddings: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Add to each position what it attends to."""
        keys = self.text(class_embeddings).expand(len(feats[0]), -1, -1)
        fused = []
        for x, query, output in zip(feats, self.query, self.output):
            attended, _ = self.attention(
                query(x.flatten(2).transpose(1, 2)),
                keys,
                keys,
                key_padding_mask=None if mask is None else ~mask,
                need_weights=False,
            )
            fused.append(x + output(attended).transpose(1, 2).view_as(x))
        return fused
