"""Checks of visitors' inputs, before any expensive computation."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdeov_mm.utils.errors import one_line
from kdeov_mm.utils.files import read_file
from kdeov_mm.utils.image_files import FORMATS, open_image
from kdeov_mm.utils.images import read_image


@dataclass
class Limits:
    """Holds the maximum sizes of inputs and of the folder of uploads.

    Attributes:
        bytes: Bytes of an image file.
        pixels: Pixels of an image.
        names: Class names of a vocabulary.
        characters: Characters of a class name or a query.
        parts: Files in one upload.
        uploads: Simultaneous uploads of all visitors.
        folder_files: Uploads and pictures that are kept.
        seconds: Time that they are kept.
    """

    bytes: int = 20 * 2**20
    pixels: int = 50_000_000
    names: int = 500
    characters: int = 300
    parts: int = 4
    uploads: int = 8
    folder_files: int = 2000
    seconds: float = 3600

    @property
    def folder_bytes(self) -> int:
        """The maximum bytes of uploads and pictures that are kept, as many as 50 of the largest uploads."""
        return 50 * self.bytes


def read_upload(path: str, limits: Limits) -> np.ndarray:
    """Read a visitor's image, uint8 RGB ``[H, W, 3]``; its size is checked before decoding.

    Raises:
        ValueError: If there is no image, it is too large, or its format is not supported.
    """
    if not path:
        raise ValueError('Give an image first.')
    size = Path(path).stat().st_size
    if size > limits.bytes:
        raise ValueError(f'The file has {size / 2**20:.1f} MiB; the limit is {limits.bytes / 2**20:.1f} MiB.')
    content = read_file(path, limits.bytes, 'image')
    try:
        with open_image(content) as image:
            width, height = image.size
    except ValueError as error:  # too many pixels, or an unsupported type
        raise ValueError(f'The image cannot be read: {one_line(error)}.') from error
    except Exception as error:  # Pillow raises anything, also for decompression bombs
        raise ValueError(f'This is not a supported image; the formats are {", ".join(FORMATS)}.') from error
    if width * height > limits.pixels:
        raise ValueError(f'The image has {width} x {height} pixels; the limit is {limits.pixels / 1e6:g} million.')
    try:
        return read_image(content)
    except ValueError as error:
        raise ValueError('The image is damaged.') from error


def read_class_names(text: str, limits: Limits) -> list[str]:
    """Read class names from a text, one a line or separated by commas, without duplicates.

    Raises:
        ValueError: If there is no class name, there are too many, or one is too long.
    """
    names = list(dict.fromkeys(name.strip() for name in re.split(r'[\n,]', text or '') if name.strip()))
    if not names:
        raise ValueError('Give at least one class name.')
    if len(names) > limits.names:
        raise ValueError(f'These are {len(names)} class names; the limit is {limits.names}.')
    for name in names:
        read_query(name, limits)
    return names


def read_query(text: str, limits: Limits) -> str:
    """Read a query, stripped of white space.

    Raises:
        ValueError: If the text is empty or too long.
    """
    text = (text or '').strip()
    if not text:
        raise ValueError('Give a text first.')
    if len(text) > limits.characters:
        raise ValueError(f'"{text[:40]}..." has {len(text)} characters; the limit is {limits.characters}.')
    return text
