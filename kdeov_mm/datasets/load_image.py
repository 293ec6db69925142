"""Loading of images of any kind, JPEG at reduced scale where the target is small."""

import io
from typing import Optional, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmyolo.registry import TRANSFORMS
from PIL import Image, ImageOps

from .broken_images import BrokenImageError

ORIENTATION = 0x0112  # EXIF's tag; its values from 5 on exchange height and width
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def decode_image(content: bytes, min_size: int = 0) -> Tuple[np.ndarray, Tuple[int, int]]:
    """Decode an image file to three channels.

    Grey and colour JPEG is decoded by OpenCV as mmcv does. CMYK, palettes, transparency (dropped), bilevel images and
    animations (the first frame) are what PIL's ``convert('RGB')`` makes of them, as in CLIP's own preprocessing; 16-bit
    grey is scaled to 8 bits. EXIF's rotation is applied.

    Args:
        content: The file.
        min_size: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps so many
            pixels; 0 decodes all of it.

    Returns:
        tuple: BGR uint8 ``[H, W, 3]``, and height and width in full size.

    Raises:
        BrokenImageError: It cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            size = image.size[::-1] if image.getexif().get(ORIENTATION, 1) < 5 else image.size
            if image.mode == 'F':
                raise ValueError('32-bit float pixels of unknown range')
            if (image.format == 'JPEG' and image.mode in ('L', 'RGB')) or image.mode.startswith('I'):
                factors = [1] if image.format != 'JPEG' or not min_size else [8, 4, 2, 1]
                factor = next(factor for factor in factors if factor == 1 or min(size) // factor >= min_size)
                decoded = cv2.imdecode(np.frombuffer(content, np.uint8), REDUCED[factor])
                if decoded is None:
                    raise ValueError('OpenCV cannot decode it')
                return decoded, size
            rgb = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
            return np.ascontiguousarray(rgb[..., ::-1]), size
    except Exception as error:  # decoders raise anything from OSError to SyntaxError
        raise BrokenImageError(f'{type(error).__name__}: {error}') from error


@TRANSFORMS.register_module()
class LoadImageReduced(BaseTransform):
    """Loads ``img`` (BGR uint8) from ``img_path``, or from ``img_bytes`` where a shard brought it.

    For image-text pipelines: boxes, which are in pixels of the full size, do not fit an image of reduced size.

    Args:
        min_size: See :func:`decode_image`; for a pipeline that then resizes to 224 pixels, 224.
        backend_args: Those of mmengine's file backends.

    Raises:
        ValueError: The sample has boxes, and ``min_size`` is not 0.
        BrokenImageError: The image cannot be decoded; the data sets of this package skip it.
    """

    def __init__(self, min_size: int = 0, backend_args: Optional[dict] = None) -> None:
        if min_size < 0:
            raise ValueError(f'min_size: must be 0 or the least number of pixels of the shorter side, got {min_size}')
        self.min_size, self.backend_args = min_size, backend_args

    def transform(self, results: dict) -> dict:
        """Load one image; ``ori_shape`` is that of the full size."""
        if self.min_size and results.get('instances'):
            raise ValueError(
                f'{results["img_path"]}: LoadImageReduced(min_size={self.min_size}) does not fit samples '
                'with boxes; load them with min_size=0'
            )
        content = results.pop('img_bytes', None)
        if content is None:
            content = fileio.get(results['img_path'], backend_args=self.backend_args)
        results['img'], results['ori_shape'] = decode_image(content, self.min_size)
        results['img_shape'] = results['img'].shape[:2]
        return results
