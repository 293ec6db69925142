"""Folding of text conditioning into the neck, for a fixed vocabulary."""

import copy

import torch
from mmcv.cnn import ConvModule
from mmyolo.models.necks import YOLOv5PAFPN, YOLOv8PAFPN
from mmyolo.models.utils import make_divisible
from torch import Tensor, nn

from kdeov_mm.models.fusion import FiLMFusion


@torch.no_grad()
def fold_film(model: nn.Module) -> nn.Module:
    """Fold FiLM with the model's current context into the neck's first convolutions.

    Every consumer of a backbone level is a 1x1 convolution without padding, so ``W((1 + gamma) x + beta)`` is again a
    1x1 convolution of x, with another bias. Upsampling and concatenation in between commute with it.

    Args:
        model: A KDEOV with a FiLMFusion. Its context is the lexicon, or without one the vocabulary.

    Returns:
        nn.Module: A copy without fusion and with the same detections. Its image embeddings are conditioned on the
        context, so keep the original as image encoder.

    Raises:
        TypeError: If the fusion is not FiLM, or the neck is not YOLOv5's or YOLOv8's.
        ValueError: If the model has neither lexicon nor vocabulary.
    """
    if not isinstance(model.fusion, FiLMFusion):
        raise TypeError(f'fusion: only FiLMFusion folds, got {type(model.fusion).__name__}')
    if model.context is None and model.background is None:
        raise ValueError('vocabulary: the model has none; call set_vocabulary first')
    folded = copy.deepcopy(model)
    folded.fusion = None
    if model.context is None:  # detection is unconditional
        return folded
    modulation = list(zip(*model.fusion.gamma_beta(model.context)))
    for conv, level, start in consumers(folded.neck):
        fold_affine(conv, *modulation[level], start)
    return folded


def consumers(neck: nn.Module) -> list[tuple[ConvModule, int, int]]:
    """List the convolutions that read a backbone level: (convolution, level, first input channel of the level)."""
    if isinstance(neck, YOLOv8PAFPN):
        top_down, bottom_up = neck.top_down_layers, neck.bottom_up_layers
        first = [layer.main_conv for layer in (top_down[0], top_down[1], bottom_up[1])]
        width = [conv.conv.in_channels for conv in first]
        levels = channels_of(neck)
        # top_down[0] reads (up P5, P4), top_down[1] (up, P3), bottom_up[1] (down, P5)
        return [
            (first[0], 2, 0),
            (first[0], 1, levels[2]),
            (first[1], 0, width[1] - levels[0]),
            (first[2], 2, width[2] - levels[2]),
        ]
    if isinstance(neck, YOLOv5PAFPN):
        levels = channels_of(neck)
        # YOLOv5 reduces P5 first; P4 and P3 enter each CSP layer through two parallel convolutions
        result = [(neck.reduce_layers[2], 2, 0)]
        for layer, level in ((neck.top_down_layers[0][0], 1), (neck.top_down_layers[1], 0)):
            for conv in (layer.main_conv, layer.short_conv):
                result.append((conv, level, conv.conv.in_channels - levels[level]))
        return result
    raise TypeError(f'neck: FiLM folds into YOLOv5PAFPN and YOLOv8PAFPN, got {type(neck).__name__}')


def channels_of(neck: nn.Module) -> list[int]:
    """Return the channels of the backbone levels that a neck reads, after its width multiplier."""
    return [make_divisible(channels, neck.widen_factor) for channels in neck.in_channels]


def fold_affine(module: ConvModule, gamma: Tensor, beta: Tensor, start: int) -> None:
    """Fold ``(1 + gamma) * x + beta`` on input channels ``[start, start + C)`` into a 1x1 convolution with norm."""
    conv = module.conv
    if conv.kernel_size != (1, 1) or conv.padding != (0, 0):
        raise TypeError(f'only an unpadded 1x1 convolution folds exactly, got {conv}')
    weight = conv.weight[:, start : start + len(gamma), 0, 0]
    shift = weight @ beta
    weight.mul_(1 + gamma)
    if conv.bias is not None:
        conv.bias.add_(shift)
    else:  # the batch norm subtracts its mean, so a smaller mean is a bias
        module.norm.running_mean.sub_(shift)
