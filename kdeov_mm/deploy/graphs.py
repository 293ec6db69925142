"""The deployed networks as PyTorch modules of plain tensors: what is constant is folded."""

import copy
from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmyolo.models.layers import CSPLayerWithTwoConv
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from kdeov_mm.models.post_processing import decode_boxes, score_names, top_candidates
from .fold import fold_film
from .nms import batched_nms


class ImageEncoder(nn.Module):
    """Images ``[B, 3, H, W]`` (RGB in [0, 1]) to embeddings, L2-normalised, ``[B, D]``; no head and no fusion.

    Args:
        model: A KDEOV, which is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = simplify(model.backbone), simplify(model.neck)
        linear, norm, *rest = copy.deepcopy(model.projector.layers).eval()
        self.layers = nn.Sequential(fuse_linear_bn_eval(linear, norm), *rest)

    def forward(self, images: Tensor) -> Tensor:
        feats = self.neck(self.backbone(images))
        pooled = [pool(x, 1) for x in feats for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)]
        embeddings = self.layers(torch.cat(pooled, dim=1).flatten(1))
        return embeddings / embeddings.norm(dim=-1, keepdim=True).clamp(min=1e-12)


class OpenDetector(nn.Module):
    """Detection with post-processing, whose vocabulary is an input.

    Args:
        model: A KDEOV with a head, which is copied.

    Raises:
        ValueError: The model has no head.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not model.with_bbox:
            raise ValueError('model: it has no bbox_head, so it cannot detect; only its image encoder can be exported')
        model = copy.deepcopy(model).eval()
        self.fusion, self.cfg = model.fusion, model.bbox_head.test_cfg
        self.backbone, self.neck = simplify(model.backbone), simplify(model.neck)
        self.layers, self.priors = simplify(model.bbox_head.head_module), model.bbox_head.priors
        embed = self.layers.embed
        del self.layers.embed
        layer = torch.cat([embed.weight, embed.bias[:, None]], dim=1).detach()
        # The length of an embedding is all that is needed of it beside its products with the texts
        self.register_buffer('length', torch.linalg.qr(layer.double())[1].float())  # [min(D, C+1), C+1]
        self.register_buffer('to_logits', layer * model.bbox_head.scale.detach())  # [D, C+1]

    def forward(self, images: Tensor, texts: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Detect.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``; H and W are multiples of 32.
            texts: The vocabulary's embeddings ``[K, D]``.

        Returns:
            tuple: For each image as many as ``test_cfg.max_per_img`` says: boxes x1, y1, x2, y2 in pixels of the input
            ``[B, M, 4]``, scores ``[B, M]`` and labels ``[B, M]``, best first; where there is none, score 0 and
            label -1.
        """
        feats = self.backbone(images)
        if self.fusion is not None:
            feats = self.fusion(feats, texts)
        return self.find(self.neck(feats), self.matrix(texts), images.shape[2:])

    def matrix(self, texts: Tensor) -> Tensor:
        """What candidates' features ``[..., C+1]`` are multiplied with: rows of their length, then of the K names."""
        return torch.cat([self.length, texts @ self.to_logits])

    def find(self, feats: Sequence[Tensor], matrix: Tensor, size: Sequence[int]) -> Tuple[Tensor, Tensor, Tensor]:
        """The head, for candidates only, and post-processing; see ``OpenVocabHead.candidates``."""
        objectness, *maps = self.layers.towers(feats)
        objectness, priors, (dists, features) = top_candidates(
            objectness, maps, self.priors(objectness), self.cfg.nms_pre
        )
        boxes = decode_boxes(priors, self.layers.distances(dists.unflatten(2, (4, -1))))
        height, width = size
        boxes = torch.cat([boxes[..., i : i + 1].clamp(0, side) for i, side in enumerate((width, height) * 2)], dim=-1)
        scores, labels = score_names(objectness, self.probabilities(features, matrix), self.cfg)
        damaged = scores.isnan().flatten(1).any(1, keepdim=True)
        scores = torch.where(scores > 0, scores, 0.0)
        scores, labels, index = batched_nms(
            boxes,
            scores,
            labels,
            matrix.shape[0] - self.length.shape[0],
            self.cfg.nms.iou_threshold,
            self.cfg.max_per_img,
        )
        scores = torch.where(damaged, torch.nan, scores)  # damaged weights are no empty result; the runtime refuses it
        return boxes.gather(1, index[..., None].expand(-1, -1, 4)), scores, labels

    def probabilities(self, features: Tensor, matrix: Tensor) -> Tensor:
        """Return the probabilities of K class names ``[B, M, K]`` for candidates with tower features ``[B, M, C]``."""
        products = F.pad(features, (0, 1), value=1.0) @ matrix.T
        length, logits = products.tensor_split([self.length.shape[0]], dim=-1)
        return (logits / length.norm(dim=-1, keepdim=True).clamp(min=1e-12)).softmax(-1)


class Detector(OpenDetector):
    """Detection with the model's present vocabulary, which is part of the weights: no text, no fusion.

    Args:
        model: A KDEOV with a head and a vocabulary, which is copied.

    Raises:
        ValueError: The model has no head or no vocabulary.
        TypeError: Its fusion does not fold.
    """

    def __init__(self, model: nn.Module) -> None:
        if not len(model.texts):
            raise ValueError('vocabulary: the model has none; call set_vocabulary first')
        super().__init__(model if model.fusion is None else fold_film(model))
        self.register_buffer('names', self.matrix(model.texts))
        del self.to_logits

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]  # it has its texts
        """Detect; see :class:`OpenDetector`."""
        return self.find(self.neck(self.backbone(images)), self.names, images.shape[2:])


class TwoBranches(nn.Module):
    """YOLOv8's C2f layer without the split of its first convolution: a convolution for each half of its output.

    The values are the same. Runtimes that compute in blocks of channels (ONNX Runtime's NCHWc, OpenVINO) would reorder
    all of them before and after a split.

    Args:
        layer: With norms folded.
    """

    def __init__(self, layer: CSPLayerWithTwoConv) -> None:
        super().__init__()
        width = layer.mid_channels
        self.branches = nn.ModuleList(
            take_channels(layer.main_conv, slice(start, start + width)) for start in (0, width)
        )
        self.blocks, self.final_conv = layer.blocks, layer.final_conv

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, C', H, W]``."""
        feats = [branch(x) for branch in self.branches]
        for block in self.blocks:
            feats.append(block(feats[-1]))
        return self.final_conv(torch.cat(feats, dim=1))


def take_channels(module: ConvModule, channels: slice) -> ConvModule:
    """A copy of a convolution with folded norm that computes some of the output channels."""
    module = copy.deepcopy(module)
    conv = module.conv
    conv.weight, conv.bias = nn.Parameter(conv.weight[channels]), nn.Parameter(conv.bias[channels])
    conv.out_channels = len(conv.bias)
    return module


def simplify(module: nn.Module) -> nn.Module:
    """A copy for inference: batch norms folded into the convolutions before them, C2f layers without a split."""
    module = copy.deepcopy(module).requires_grad_(False)
    module.eval()  # MMYOLO's backbones and necks return None
    module = fuse_conv_bn(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, CSPLayerWithTwoConv):
                setattr(parent, name, TwoBranches(child))
    return module.requires_grad_(False)
