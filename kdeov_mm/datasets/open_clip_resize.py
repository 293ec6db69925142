"""OpenCLIP's resizing as a transform."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmyolo.registry import TRANSFORMS
from open_clip.transform import image_transform_v2
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from kdeov_mm.models.clip.preprocess import find_preprocess


@TRANSFORMS.register_module()
class OpenCLIPResize(BaseTransform):
    """Resizes and crops or pads ``img`` exactly with PIL as OpenCLIP does.

    ``OpenCLIPTeacher`` then only normalises, and its embeddings equal OpenCLIP's up to rounding.

    Args:
        model_name, pretrained, preprocess: See ``OpenCLIPTeacher``.
    """

    def __init__(self, model_name: str, pretrained: str | None = None, preprocess: dict | None = None) -> None:
        steps = image_transform_v2(find_preprocess(model_name, pretrained, preprocess), is_train=False).transforms
        self.resize = Compose([step for step in steps if not isinstance(step, (ToTensor, Normalize))])

    def transform(self, results: dict) -> dict:
        """Resize BGR uint8 ``[H, W, 3]``."""
        resized = np.asarray(self.resize(Image.fromarray(results['img'][..., ::-1])))
        results['img'] = np.ascontiguousarray(resized[..., ::-1])
        results['img_shape'] = results['img'].shape[:2]
        return results
