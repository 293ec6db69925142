"""The images of the student's batch as the teacher sees them."""

import math
from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from torch import Tensor


def teacher_view(inputs: Sequence[Tensor], data_samples: Sequence[DetDataSample], device: torch.device) -> list[Tensor]:
    """Return the student's augmented images without their padding.

    A data sample's ``img_shape`` and ``pad_param`` (LetterResize) give the padding, and ``flip`` mirrors it. If a
    transform after LetterResize moves the image (YOLOv5RandomAffine), leave ``pad_param`` out of ``meta_keys``. The
    teacher then sees the padding too.

    Args:
        inputs: B images, uint8 BGR ``[3, H, W]``.
        data_samples: Of the same images.
        device: Device of the result.

    Returns:
        list: B images, float32 RGB in [0, 1], ``[3, h, w]``.
    """
    views = []
    for image, sample in zip(inputs, data_samples):
        top, bottom, left, right = content(image.shape[-2:], sample.metainfo)
        views.append(image[:, top:bottom, left:right].to(device).flip(0).float() / 255)
    return views


def content(shape: tuple[int, int], metainfo: dict) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right edge of the content in a padded image of ``shape`` (height, width)."""
    height, width = (min(pair) for pair in zip(shape, metainfo.get('img_shape') or shape))
    pad = metainfo.get('pad_param')
    if pad is None:
        return 0, height, 0, width
    above, below, before, after = (float(value) for value in pad)
    direction = metainfo.get('flip_direction') if metainfo.get('flip') else None
    if direction in ('vertical', 'diagonal'):
        above, below = below, above
    if direction in ('horizontal', 'diagonal'):
        before, after = after, before
    return math.ceil(above), height - math.ceil(below), math.ceil(before), width - math.ceil(after)
