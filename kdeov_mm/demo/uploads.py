"""What visitors give, checked before it costs anything."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import List

import numpy as np

from kdeov_mm.utils.errors import one_line
from kdeov_mm.utils.files import read_file
from kdeov_mm.utils.image_files import FORMATS, open_image
from kdeov_mm.utils.images import read_image


@dataclass
class Limits:
    """What a visitor may give, and what is kept of all visitors.

    Attributes:
        bytes: Of an image file.
        pixels: Of an image.
        names: Of a vocabulary.
        characters: Of a name or a query.
        parts: Files in one upload.
        uploads: Uploads under way at once, of all visitors.
        folder_files: Uploads and pictures that are kept.
        seconds: How long they are kept.
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
        """Bytes of the uploads and pictures that are kept: those of 50 of the largest uploads."""
        return 50 * self.bytes


def read_upload(path: str, limits: Limits) -> np.ndarray:
    """Read a visitor's image, uint8 RGB ``[H, W, 3]``; nothing is decoded before its size is known.

    Raises:
        ValueError: There is none, it is too large, or no image of a usual format.
    """
    if not path:
        raise ValueError('Give an image first.')
    size = Path(path).stat().st_size
    if size > limits.bytes:
        raise ValueError(f'The file has {size / 2**20:.1f} MiB; at most {limits.bytes / 2**20:.1f} are taken.')
    content = read_file(path, limits.bytes, 'image')
    try:
        with open_image(content) as image:
            width, height = image.size
    except ValueError as error:  # too many pixels, or such as nobody can show
        raise ValueError(f'The image cannot be taken: {one_line(error)}.') from error
    except Exception as error:  # Pillow raises anything, also for what it takes for a decompression bomb
        raise ValueError(f'This is no image that can be read; {", ".join(FORMATS)} files are taken.') from error
    if width * height > limits.pixels:
        raise ValueError(f'The image has {width} x {height} pixels; at most {limits.pixels / 1e6:g} million are taken.')
    try:
        return read_image(content)
    except ValueError as error:
        raise ValueError('The image is damaged, and cannot be read to its end.') from error


def read_words(text: str, limits: Limits) -> List[str]:
    """The distinct names in a text, one a line or separated by commas.

    Raises:
        ValueError: There is none, there are too many, or one is too long.
    """
    names = list(dict.fromkeys(name.strip() for name in re.split(r'[\n,]', text or '') if name.strip()))
    if not names:
        raise ValueError('Give at least one name.')
    if len(names) > limits.names:
        raise ValueError(f'These are {len(names)} names; at most {limits.names} are taken.')
    for name in names:
        read_query(name, limits)
    return names


def read_query(text: str, limits: Limits) -> str:
    """Words without what surrounds them.

    Raises:
        ValueError: There is none, or the text is too long.
    """
    text = (text or '').strip()
    if not text:
        raise ValueError('Give some words first.')
    if len(text) > limits.characters:
        raise ValueError(f'"{text[:40]}..." has {len(text)} characters; at most {limits.characters} are taken.')
    return text
