"""Decoding of image files for training and inference: JPEG with OpenCV, at reduced scale for small targets."""

import cv2
import numpy as np

from .errors import one_line
from .image_files import BrokenImageError, open_image, orientation
from .images import to_rgb, upright_size

REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
ROTATED = {  # by EXIF's orientation as Pillow reads it; OpenCV does not read the one in XMP
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


def decode_image(content: bytes, min_size: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an image file to three channels.

    Grey and colour JPEG is decoded by OpenCV as in mmcv, everything else as in ``kdeov_mm.deploy.read_image``. So
    training and the exported runtime see the same pixels (nearly the same for JPEG).

    Args:
        content: The file.
        min_size: Minimum shorter side in pixels to which a JPEG may be reduced while decoding (by 1/2, 1/4 or 1/8); 0:
            full size.

    Returns:
        tuple: BGR uint8 ``[H, W, 3]``, and height and width in full size.

    Raises:
        BrokenImageError: If the image cannot be decoded.
    """
    try:
        with open_image(content) as image:
            if image.format != 'JPEG' or image.mode not in ('L', 'RGB'):
                rgb = np.asarray(to_rgb(image))
                return np.ascontiguousarray(rgb[..., ::-1]), rgb.shape[:2]
            turn, size = orientation(image), upright_size(image)[::-1]
            factors = (8, 4, 2, 1) if min_size else (1,)
            factor = next(factor for factor in factors if factor == 1 or min(size) // factor >= min_size)
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
            if decoded is None:
                raise ValueError('OpenCV cannot decode it')
            return np.ascontiguousarray(ROTATED[turn](decoded) if turn in ROTATED else decoded), size
    except Exception as error:  # decoders raise anything from OSError to SyntaxError
        raise BrokenImageError(f'{type(error).__name__}: {one_line(error)}') from error
