"""Loading of single image files: read, hash, decode and preprocess."""

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kdeov_mm.utils.image_files import open_image, read_image_file
from kdeov_mm.utils.images import ImageError, read_picture, upright_size

QUALITY = 80  # of thumbnails


@dataclass
class Source:
    """Describes a file at the time of listing.

    Attributes:
        path: Absolute path.
        size: Bytes; -1 if there is no such file.
        mtime_ns: Modification time in nanoseconds.
        changed: Whether it was in the index with another size or time.
    """

    path: str
    size: int
    mtime_ns: int
    changed: bool = False

    @classmethod
    def of(cls, path: str) -> 'Source':
        """Describe the file as it is now."""
        try:
            stat = os.stat(path)
        except OSError:
            return cls(path, -1, 0)
        return cls(path, stat.st_size, stat.st_mtime_ns)


@dataclass
class Loaded:
    """Holds the data of one row of the index.

    Attributes:
        source: The file.
        sha256: SHA-256 of the content; empty if the file cannot be read.
        defect: Why the file cannot be read as an image, or None.
        width: Width in pixels of the upright image.
        height: Height in pixels of the upright image.
        thumbnail: JPEG file; empty without thumbnails.
        ready: The model's input, float32 ``[3, H, W]``; None if the file cannot be read.
    """

    source: Source
    sha256: str = ''
    defect: str | None = None
    width: int = 0
    height: int = 0
    thumbnail: bytes = b''
    ready: np.ndarray | None = None


def load(source: Source, prepare: Callable[[Image.Image], np.ndarray], min_size: int, thumbnail: int) -> Loaded:
    """Load one file; errors go into ``defect`` of the result and are never raised.

    Args:
        source: The file.
        prepare: Converts Pillow's image in RGB to the model's input.
        min_size: See ``kdeov_mm.deploy.read_image``.
        thumbnail: Longer side of the thumbnail in pixels; 0: none.
    """
    result = Loaded(source)
    try:
        content = read_image_file(source.path)
        result.sha256 = hashlib.sha256(content).hexdigest()
        picture = read_picture(content, min_size)
        result.width, result.height = seen_size(content)
        result.ready = prepare(picture)
        result.thumbnail = make_thumbnail(picture, thumbnail) if thumbnail else b''
    except ImageError as error:
        result.defect = str(error).split(': ', 1)[-1]  # the path is reported separately
    except Exception as error:  # one file must not end a build of millions
        result.defect = f'{type(error).__name__}: {error}'
    return result


def seen_size(content: bytes) -> tuple[int, int]:
    """Return width and height of an image file, rotated according to its EXIF data."""
    with open_image(content) as image:
        return upright_size(image)


def make_thumbnail(picture: Image.Image, size: int) -> bytes:
    """Return a JPEG whose longer side has at most ``size`` pixels; changes the picture."""
    file = io.BytesIO()
    # reducing_gap=1.0 is twice as fast, with sufficient quality.
    picture.thumbnail((size, size), Image.Resampling.BILINEAR, reducing_gap=1.0)
    Image.fromarray(np.asarray(picture)).save(file, 'JPEG', quality=QUALITY)
    return file.getvalue()
