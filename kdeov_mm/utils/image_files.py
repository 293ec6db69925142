"""Which image files are read, and how large they may be: one limit for training, inference, runtime, index and demo."""

import io
import warnings
from pathlib import Path
from typing import Union

from PIL import Image

from .files import read_file

# Of Pillow's formats: the usual ones, whose decoders start no other program (EPS starts Ghostscript).
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')
SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
MAX_PIXELS = 80_000_000  # 240 MB as RGB; below Pillow's own limit of 89 million
MAX_BYTES = 512 * 2**20  # of a file


def read_image_file(path: Union[str, Path]) -> bytes:
    """Read an image file's content; see ``kdeov_mm.utils.files.read_file``."""
    return read_file(path, MAX_BYTES, 'image')


def open_image(content: bytes) -> Image.Image:
    """Open an image from its content, without decoding its pixels.

    Raises:
        ValueError: If it has more than ``MAX_PIXELS`` pixels.
        Exception: Pillow's, of any type, if it is no image in one of ``FORMATS``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f'{image.width} x {image.height} pixels; at most {MAX_PIXELS} are read')
    return image
