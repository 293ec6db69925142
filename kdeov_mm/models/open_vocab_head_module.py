"""Layers of the open-vocabulary head."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmyolo.models.dense_heads import YOLOv8HeadModule
from mmyolo.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class OpenVocabHeadModule(YOLOv8HeadModule):
    """Builds the head's layers: YOLOv8's box and class towers, with a region embedding at the end of the class tower.

    Objectness is one more channel of the box tower. It is learnt from the features that localise an object, not from
    those that classify it (OLN, Kim et al. 2022).

    Args:
        *args, **kwargs: Of ``YOLOv8HeadModule`` without ``num_classes``.
        embed_dims: Dimension D of the region embeddings.
    """

    def __init__(self, *args, embed_dims: int, **kwargs) -> None:
        self.embed_dims = embed_dims
        super().__init__(1, *args, **kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        dims = self.in_channels[0]  # as in YOLOv8 with fewer classes than channels
        conv = dict(kernel_size=3, padding=1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.cls_preds = nn.ModuleList(
            nn.Sequential(ConvModule(channels, dims, **conv), ConvModule(dims, dims, **conv))
            for channels in self.in_channels
        )
        self.obj_preds = nn.ModuleList(nn.Conv2d(reg[-1].in_channels, 1, 1) for reg in self.reg_preds)
        self.embed = nn.Linear(dims, self.embed_dims)

    def init_weights(self) -> None:
        super(YOLOv8HeadModule, self).init_weights()
        for reg_pred, obj_pred, stride in zip(self.reg_preds, self.obj_preds, self.featmap_strides):
            reg_pred[-1].bias.data[:] = 1.0
            obj_pred.bias.data[:] = math.log(5 / (640 / stride) ** 2)  # YOLOv8's prior: 5 objects in 640 x 640 px

    def forward(self, x: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Run the towers on the neck's features, ``[B, C_l, H_l, W_l]`` for each level.

        Returns:
            tuple: For each level objectness logits ``[B, 1, H, W]``, box distances ``[B, 4, H, W]``, embedding
            tower features ``[B, C, H, W]`` and logits of the box distributions ``[B, H*W, 4, reg_max]``. The distances
            are in strides: left, top, right and bottom of the prior's centre.
        """
        objectness, maps, features = self.towers(x)
        dists = [m.reshape(len(m), 4, self.reg_max, -1).permute(0, 3, 1, 2) for m in maps]
        boxes = [self.distances(dist).transpose(1, 2).reshape(len(m), 4, *m.shape[2:]) for dist, m in zip(dists, maps)]
        return objectness, boxes, features, dists

    def towers(self, x: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Run the layers without decoding.

        Returns:
            tuple: For each level objectness logits ``[B, 1, H, W]``, logits of the box distributions
            ``[B, 4*reg_max, H, W]`` and embedding tower features ``[B, C, H, W]``.
        """
        return tuple(
            map(
                list,
                zip(*(self.forward_single(*level) for level in zip(x, self.cls_preds, self.reg_preds, self.obj_preds))),
            )
        )

    def forward_single(self, x, cls_pred, reg_pred, obj_pred) -> tuple[Tensor, ...]:
        """Run the towers on one level; see :meth:`towers`."""
        reg_feat = reg_pred[:-1](x)
        return obj_pred(reg_feat), reg_pred[-1](reg_feat), cls_pred(x)

    def distances(self, dists: Tensor) -> Tensor:
        """Return expected distances ``[..., 4]`` in strides of distribution logits ``[..., 4, reg_max]``."""
        return dists.softmax(-1).matmul(self.proj.view(-1, 1)).squeeze(-1)

    def region_embeddings(self, features: Tensor) -> Tensor:
        """Turn tower features ``[..., C]`` into region embeddings; float32, L2-normalised, ``[..., D]``."""
        return F.normalize(self.embed(features).float(), dim=-1)

    def similarity(self, features: Tensor, class_embeddings: Tensor) -> Tensor:
        """Compute the cosine similarity ``[n, K]`` of tower features ``[n, C]`` and class embeddings ``[K, D]``.

        The embedding layer is applied to the class embeddings, as K dot products cost less in the tower's C dimensions
        than in D.
        """
        layer = torch.cat([self.embed.weight, self.embed.bias[:, None]], dim=1).float()
        features = F.pad(features.float(), (0, 1), value=1.0)  # the bias is the weight of a constant
        norm = (features @ layer.T).norm(dim=1, keepdim=True).clamp(min=1e-12)
        return (features / norm) @ (class_embeddings @ layer).T
