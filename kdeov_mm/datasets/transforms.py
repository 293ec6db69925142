"""A random crop that cuts no object."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.structures.bbox import autocast_box_type
from mmyolo.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ObjectSafeCrop(BaseTransform):
    """Crops at random without cutting an object, so captions and labels stay correct.

    Args:
        prob: Ratio of images that are cropped, in [0, 1].
        min_side: Minimum side of the crop in pixels.
    """

    def __init__(self, prob: float = 0.7, min_side: int = 24) -> None:
        self.prob, self.min_side = prob, min_side

    @cache_randomness
    def draw(self) -> np.ndarray:
        """Draw a number in [0, 1) that decides whether to crop, and one for each side of the crop."""
        return np.random.random(5)

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Crop ``img`` and shift ``gt_bboxes``."""
        draw = self.draw()
        if draw[0] >= self.prob:
            return results
        height, width = results['img'].shape[:2]
        boxes = results['gt_bboxes'].tensor.numpy() if len(results['gt_bboxes']) else None
        if boxes is None:
            inner = np.array([width / 2, height / 2] * 2)
        else:
            inner = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
        grow = np.maximum(self.min_side - (inner[2:] - inner[:2]), 0) / 2
        inner = np.concatenate([inner[:2] - grow, inner[2:] + grow])
        limits = np.array([0, 0, width, height])
        inner += np.tile(np.maximum(-inner[:2], 0) - np.maximum(inner[2:] - limits[2:], 0), 2)
        window = np.clip(inner + draw[1:] * (limits - inner), 0, [width, height] * 2)
        x1, y1, x2, y2 = window.round().astype(int)
        results['img'] = results['img'][y1:y2, x1:x2]
        results['img_shape'] = results['img'].shape[:2]
        if boxes is not None:
            results['gt_bboxes'].translate_([-x1, -y1])
        return results
