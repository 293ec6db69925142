"""The exported networks as PyTorch modules of plain tensors, with constants folded."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmyolo.models.layers import CSPLayerWithTwoConv
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from kdeov_mm.models.fusion import FiLMFusion
from kdeov_mm.models.post_processing import (
    decode_boxes,
    independent_probability,
    platt_scale,
    score_classes,
    top_candidates,
)
from .fold import fold_film
from .nms import batched_nms
from .runtime import competitor_inputs


class ImageEncoder(nn.Module):
    """Embeds images ``[B, 3, H, W]`` (RGB in [0, 1]), without head and fusion; L2-normalised, ``[B, D]``.

    Args:
        model: A KDEOV, which is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = simplify(model.backbone), simplify(model.neck)
        linear, norm, *rest = copy.deepcopy(model.projector.layers).eval()
        self.layers = nn.Sequential(fuse_linear_bn_eval(linear, norm), *rest)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images; see the class."""
        feats = self.neck(self.backbone(images))
        pooled = [pool(x, 1) for x in feats for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d)]
        embeddings = self.layers(torch.cat(pooled, dim=1).flatten(1))
        return embeddings / embeddings.norm(dim=-1, keepdim=True).clamp(min=1e-12)


class OpenDetector(nn.Module):
    """Detects with a vocabulary that is an input; includes post-processing.

    Args:
        model: A KDEOV with a head, which is copied.

    Raises:
        ValueError: If the model has no head.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        if not model.with_bbox:
            raise ValueError('model: it has no bbox_head, so it cannot detect; only its image encoder can be exported')
        model = copy.deepcopy(model).eval()
        self.independent, self.cfg = model.background is not None, model.bbox_head.test_cfg
        self.platt = model.calibration.scale, model.calibration.bias
        if self.independent and isinstance(model.fusion, FiLMFusion):
            model = fold_film(model)
        self.fusion = model.fusion
        self.backbone, self.neck = simplify(model.backbone), simplify(model.neck)
        self.layers, self.priors = simplify(model.bbox_head.head_module), model.bbox_head.priors
        embed = self.layers.embed
        del self.layers.embed
        layer = torch.cat([embed.weight, embed.bias[:, None]], dim=1).detach()
        # Only the norm of an embedding and its products with the class embeddings are needed
        self.register_buffer('length', torch.linalg.qr(layer.double())[1].float())  # [min(D, C+1), C+1]
        self.register_buffer('to_logits', layer * model.bbox_head.scale.detach())  # [D, C+1]
        if self.independent:
            lexicon = model.lexicon_embeddings.embeddings.to(layer)
            self.background_logit = float(model.bbox_head.scale.detach()) * model.background
            self.register_buffer('context', model.context if self.fusion is not None else None)
            self.register_buffer('lexicon', lexicon @ self.to_logits)  # [L, C+1]

    def forward(
        self, images: Tensor, texts: Tensor, others: Tensor | None = None, competes: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Detect the classes of a vocabulary.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``; H and W are multiples of 32.
            texts: Class embeddings of the vocabulary, ``[K, D]``.
            others: Class embeddings of further competitors, ``[X, D]``; with independent scores only.
            competes: Role of each entry of the lexicon and of ``others`` for a class, ``[K, L + X]``: 1 if it competes
                with the class, -1 if it is a hyponym, 0 if it does not count; with independent scores only. The
                exported input has this name.

        Returns:
            tuple: Boxes x1, y1, x2, y2 in pixels of the input ``[B, M, 4]``, scores ``[B, M]`` and labels ``[B, M]``,
            best first. M is ``test_cfg.max_per_img``; rows without a detection have score 0 and label -1.
        """
        feats = self.backbone(images)
        if self.fusion is not None:
            feats = self.fusion(feats, self.context if self.independent else texts)
        competitors = torch.cat([self.lexicon, others @ self.to_logits]) if self.independent else None
        return self.find(self.neck(feats), texts @ self.to_logits, images.shape[2:], competitors, competes)

    def find(
        self,
        feats: Sequence[Tensor],
        names: Tensor,
        size: Sequence[int],
        competitors: Tensor | None,
        competes: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the head on candidates only, and post-processing; see ``OpenVocabHead.candidates``.

        Args:
            feats: The neck's features.
            names: Factors from features to the logits of the K classes, ``[K, C+1]``.
            size: Height and width of the input in pixels.
            competitors: The same of the competitors; None: the classes compete with each other.
            competes: Role of each competitor for each class, see :meth:`forward`.
        """
        objectness, *maps = self.layers.towers(feats)
        objectness, priors, (dists, features) = top_candidates(
            objectness, maps, self.priors(objectness), self.cfg.nms_pre
        )
        boxes = decode_boxes(priors, self.layers.distances(dists.unflatten(2, (4, -1))))
        height, width = size
        boxes = torch.cat([boxes[..., i : i + 1].clamp(0, side) for i, side in enumerate((width, height) * 2)], dim=-1)
        scores, labels = score_classes(objectness, self.probabilities(features, names, competitors, competes), self.cfg)
        damaged = scores.isnan().flatten(1).any(1, keepdim=True)
        scores = torch.where(scores > 0, scores, 0.0)
        limits = self.cfg.nms.iou_threshold, self.cfg.max_per_img
        if self.cfg.nms.get('class_agnostic', False):
            best = labels[..., 0]
            scores, groups, index = batched_nms(boxes, scores[..., :1], labels[..., :1] * 0, 1, *limits)
            labels = torch.where(groups < 0, -1, best.gather(1, index))
        else:
            scores, labels, index = batched_nms(boxes, scores, labels, names.shape[0], *limits)
        # Damaged weights must not give an empty result; the runtime refuses NaN.
        scores = torch.where(damaged, torch.nan, platt_scale(scores, *self.platt))
        return boxes.gather(1, index[..., None].expand(-1, -1, 4)), scores, labels

    def probabilities(
        self, features: Tensor, names: Tensor, competitors: Tensor | None, competes: Tensor | None
    ) -> Tensor:
        """Return the probabilities of K classes ``[B, M, K]`` for candidates with tower features ``[B, M, C]``."""
        features = F.pad(features, (0, 1), value=1.0)
        features = features / (features @ self.length.T).norm(dim=-1, keepdim=True).clamp(min=1e-12)
        logits = features @ names.T
        if competitors is None or competes is None:
            return logits.softmax(-1)
        competing, hyponyms = competes.clamp(min=0), competes.clamp(max=0).neg()
        return independent_probability(logits, features @ competitors.T, competing, hyponyms, self.background_logit)


def vocabulary_inputs(model: nn.Module) -> dict[str, np.ndarray]:
    """Return the inputs of an open detector, except for images, for the model's vocabulary; float32."""
    inputs = {'texts': model.class_embeddings.numpy()}
    if model.background is not None:
        inputs.update(competitor_inputs(model.lexicon.competes(model.vocabulary), model.others.embeddings.numpy()))
    return inputs


class Detector(OpenDetector):
    """Detects with the model's current vocabulary, which is folded into the weights, without text and fusion.

    Args:
        model: A KDEOV with a head and a vocabulary, which is copied.

    Raises:
        ValueError: If the model has no head or no vocabulary.
        TypeError: If the fusion cannot be folded.
    """

    def __init__(self, model: nn.Module) -> None:
        if not len(model.class_embeddings):
            raise ValueError('vocabulary: the model has none; call set_vocabulary first')
        competitors = model.competitors
        super().__init__(model if model.fusion is None or competitors is not None else fold_film(model))
        self.register_buffer('names', model.class_embeddings @ self.to_logits)
        self.register_buffer('competitors', None if competitors is None else competitors.embeddings @ self.to_logits)
        self.register_buffer('competes', None if competitors is None else competitors.roles)
        del self.to_logits
        if self.independent:
            del self.lexicon

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]  # the vocabulary is folded
        """Detect; see :class:`OpenDetector`."""
        feats = self.backbone(images)
        if self.fusion is not None:
            feats = self.fusion(feats, self.context)
        return self.find(self.neck(feats), self.names, images.shape[2:], self.competitors, self.competes)


class TwoBranches(nn.Module):
    """Replaces the split after the first convolution of YOLOv8's C2f layer by two convolutions.

    The values are the same. Runtimes that compute in blocks of channels (ONNX Runtime's NCHWc, OpenVINO) would reorder
    all channels before and after a split.

    Args:
        layer: Layer with folded norms.
    """

    def __init__(self, layer: CSPLayerWithTwoConv) -> None:
        super().__init__()
        width = layer.mid_channels
        self.branches = nn.ModuleList(
            take_channels(layer.main_conv, slice(start, start + width)) for start in (0, width)
        )
        self.blocks, self.final_conv = layer.blocks, layer.final_conv

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C', H, W]``."""
        feats = [branch(x) for branch in self.branches]
        for block in self.blocks:
            feats.append(block(feats[-1]))
        return self.final_conv(torch.cat(feats, dim=1))


def take_channels(module: ConvModule, channels: slice) -> ConvModule:
    """Copy a convolution with folded norm, restricted to some output channels."""
    module = copy.deepcopy(module)
    conv = module.conv
    conv.weight, conv.bias = nn.Parameter(conv.weight[channels]), nn.Parameter(conv.bias[channels])
    conv.out_channels = len(conv.bias)
    return module


def simplify(module: nn.Module) -> nn.Module:
    """Copy a module for inference: fold batch norms into convolutions and remove the split of C2f layers."""
    module = copy.deepcopy(module).requires_grad_(False)
    module.eval()  # MMYOLO's backbones and necks return None
    module = fuse_conv_bn(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, CSPLayerWithTwoConv):
                setattr(parent, name, TwoBranches(child))
    return module.requires_grad_(False)
