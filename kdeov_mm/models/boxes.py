"""Boxes: between input and original image, and without duplicates."""

from typing import Tuple

from torch import Tensor
from torchvision.ops import nms


def to_original(boxes: Tensor, img_meta: dict) -> Tensor:
    """Boxes ``[n, 4]`` in pixels of the network's input, in pixels of the original image."""
    scale, shift = scale_and_shift(boxes, img_meta)
    return (boxes - shift) / scale


def to_input(boxes: Tensor, img_meta: dict) -> Tensor:
    """Boxes ``[n, 4]`` in pixels of the original image, in pixels of the network's input."""
    scale, shift = scale_and_shift(boxes, img_meta)
    return boxes * scale + shift


def scale_and_shift(boxes: Tensor, img_meta: dict) -> Tuple[Tensor, Tensor]:
    """How an image was resized and then padded, for x, y, x, y: ``[4]`` each."""
    top, _, left, _ = img_meta.get('pad_param', (0, 0, 0, 0))
    return boxes.new_tensor(img_meta['scale_factor']).repeat(2), boxes.new_tensor([left, top, left, top])


def nms_by_class(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, most: int) -> Tensor:
    """Indices of the ``most`` best boxes that non-maximum suppression within each class leaves, best first.

    Only better boxes can suppress a box. So the best few are tried first, and more only where too few of them remain:
    the result is that of all boxes. Coordinates are at least 0.
    """
    order = scores.argsort(descending=True, stable=True)
    tried = 4 * most
    while True:
        best = order[:tried]
        # Classes are moved apart, in float64: a thousand images side by side leave float32 no fractions of a pixel.
        apart = boxes[best].double()
        if len(best):
            apart = apart + (labels[best] * (apart.max() + 1))[:, None]
        keep = best[nms(apart, scores[best].double(), iou_threshold)]
        if len(keep) >= most or tried >= len(order):
            return keep[:most]
        tried *= 4
