"""Loading of images of any kind, JPEG at reduced scale where the target is small."""

from typing import Optional, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmyolo.registry import TRANSFORMS
from kdeov_mm.utils.errors import one_line
from kdeov_mm.utils.image_files import open_image, read_image_file
from kdeov_mm.utils.images import ORIENTATION, to_rgb, upright_size
from .broken_images import BrokenImageError

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
TURNED = {  # by EXIF's orientation, as Pillow reads it: OpenCV does not know the one in XMP
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def decode_image(content: bytes, min_size: int = 0) -> Tuple[np.ndarray, Tuple[int, int]]:
    """Decode an image file to three channels.

    Grey and colour JPEG is decoded by OpenCV as mmcv does, all else as ``kdeov_mm.deploy.read_image`` does, so that
    training and the exported runtime see the same pixels (of JPEG nearly the same).

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
        with open_image(content) as image:
            if image.format != 'JPEG' or image.mode not in ('L', 'RGB'):
                rgb = np.asarray(to_rgb(image))
                return np.ascontiguousarray(rgb[..., ::-1]), rgb.shape[:2]
            orientation, size = image.getexif().get(ORIENTATION, 1), upright_size(image)[::-1]
            factors = (8, 4, 2, 1) if min_size else (1,)
            factor = next(factor for factor in factors if factor == 1 or min(size) // factor >= min_size)
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
            if decoded is None:
                raise ValueError('OpenCV cannot decode it')
            return np.ascontiguousarray(TURNED[orientation](decoded) if orientation in TURNED else decoded), size
    except Exception as error:  # decoders raise anything from OSError to SyntaxError
        raise BrokenImageError(f'{type(error).__name__}: {one_line(error)}') from error


def read_content(path: str, backend_args: Optional[dict] = None) -> bytes:
    """Read an image file, or what one of mmengine's file backends stores."""
    if backend_args is None and '://' not in path:
        return read_image_file(path)
    return fileio.get(path, backend_args=backend_args)


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
            content = read_content(results['img_path'], self.backend_args)
        results['img'], results['ori_shape'] = decode_image(content, self.min_size)
        results['img_shape'] = results['img'].shape[:2]
        return results
