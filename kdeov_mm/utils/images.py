"""Image files of any kind as pixels, with Pillow alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .display import printable
from .errors import InputError, one_line
from .image_files import open_image, read_image_file

ORIENTATION = 0x0112  # EXIF's tag; 1 is upright, from 5 on height and width are exchanged


class ImageError(ValueError):
    """An image cannot be read; the message names it and says why."""


def read_image(source: str | Path | bytes, min_size: int = 0) -> np.ndarray:
    """Read one image as uint8 RGB ``[H, W, 3]``; see :func:`read_picture`."""
    return np.asarray(read_picture(source, min_size))


def read_picture(source: str | Path | bytes, min_size: int = 0) -> Image.Image:
    """Read one image.

    The format is judged by the content, whatever the file is called. EXIF's rotation is applied. CMYK, palettes and
    grey become RGB, 16 bits become 8, transparency is dropped, and an animation is its first frame. Which formats and
    sizes are read, ``kdeov_mm.utils.image_files`` says.

    Args:
        source: A file's path, or its content.
        min_size: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, as long as its shorter
            side keeps so many pixels; 0 decodes all of it.

    Returns:
        PIL.Image.Image: In RGB.

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
    if image.getexif().get(ORIENTATION, 1) != 1:  # a copy, as is a conversion: most images need neither
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    return image if image.mode == 'RGB' else image.convert('RGB')


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image as one sees it, turned as its EXIF data say."""
    if image.format != 'TIFF' and image.getexif().get(ORIENTATION, 1) >= 5:  # Pillow turns TIFF by itself
        return image.height, image.width
    return image.width, image.height


def read_images(paths: Sequence[str | Path], min_size: int = 0) -> tuple[list[np.ndarray], list[int], dict[int, str]]:
    """Read those of several images that can be read.

    Args:
        paths, min_size: See :func:`read_image`.

    Returns:
        tuple: The images, the indices in ``paths`` of each, and for the index of each other one why it is missing.
    """
    images, kept, defects = [], [], {}
    for index, path in enumerate(paths):
        try:
            images.append(read_image(path, min_size))
            kept.append(index)
        except (OSError, ImageError) as error:
            defects[index] = str(error)
    return images, kept, defects
