"""Reading of image files with Pillow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .display import printable
from .errors import InputError, one_line
from .image_files import open_image, orientation, read_image_file


class ImageError(ValueError):
    """Reports an image that cannot be read; the message names it and the reason."""


def read_image(source: str | Path | bytes, min_size: int = 0) -> np.ndarray:
    """Read one image as uint8 RGB ``[H, W, 3]``; see :func:`read_picture`."""
    return np.asarray(read_picture(source, min_size))


def read_picture(source: str | Path | bytes, min_size: int = 0) -> Image.Image:
    """Read one image.

    The content, not the file name, determines the format. EXIF's rotation is applied. CMYK, palettes and
    grey become RGB, 16 bits become 8, transparency is dropped, and an animation is its first frame. See
    ``kdeov_mm.utils.image_files`` for the supported formats and sizes.

    Args:
        source: A file's path, or its content.
        min_size: Minimum shorter side in pixels to which a JPEG may be reduced while decoding (by 1/2, 1/4 or 1/8),
            which is much faster; 0: full size.

    Returns:
        PIL.Image.Image: The image in RGB.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If it is empty, no regular file, no image, truncated, too large, or has pixels of 32 bits.
    """
    name = f'<{len(source)} bytes>' if isinstance(source, bytes) else printable(str(source))
    if not isinstance(source, bytes):
        try:
            source = read_image_file(source)
        except InputError as error:
            raise ImageError(str(error)) from error
    if not source:
        raise ImageError(f'image {name}: it is empty (0 bytes)')
    try:
        with open_image(source) as image:
            return to_rgb(image, min_size)
    except Exception as error:  # Pillow's decoders raise anything from OSError to SyntaxError
        raise ImageError(f'image {name}: {type(error).__name__}: {one_line(error)}') from error


def to_rgb(image: Image.Image, min_size: int = 0) -> Image.Image:
    """Decode an opened image; see :func:`read_picture`."""
    if min_size and image.format == 'JPEG':
        factor = next(factor for factor in (8, 4, 2, 1) if factor == 1 or min(image.size) // factor >= min_size)
        image.draft('RGB', (image.width // factor, image.height // factor))
    image.load()
    if orientation(image) != 1:  # makes a copy, which most images do not need
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == 'RGB' else image.convert('RGB')


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image, rotated according to its EXIF data."""
    if image.format != 'TIFF' and orientation(image) >= 5:  # Pillow rotates TIFF itself
        return image.height, image.width
    return image.width, image.height


def read_images(paths: Sequence[str | Path], min_size: int = 0) -> tuple[list[np.ndarray], list[int], dict[int, str]]:
    """Read several images, except for broken ones.

    Args:
        paths, min_size: See :func:`read_image`.

    Returns:
        tuple: The images, their indices in ``paths``, and the reason for each other index.
    """
    images, kept, defects = [], [], {}
    for index, path in enumerate(paths):
        try:
            images.append(read_image(path, min_size))
            kept.append(index)
        except (OSError, ImageError) as error:
            defects[index] = str(error)
    return images, kept, defects
