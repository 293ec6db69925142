"""One file of a collection: read, hashed, decoded and made ready for the model."""

import hashlib
import io
import os
from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from PIL import Image

from kdeov_mm.utils.image_files import open_image, read_image_file
from kdeov_mm.utils.images import ImageError, read_picture, upright_size

QUALITY = 80  # of thumbnails


@dataclass
class Source:
    """A file as it was when the collection was listed.

    Attributes:
        path: Absolute.
        size: Bytes; -1 if there is no such file.
        mtime_ns: Time of its last change.
        changed: Whether it was in the index with another size or time.
    """

    path: str
    size: int
    mtime_ns: int
    changed: bool = False

    @classmethod
    def of(cls, path: str) -> 'Source':
        """The file as it is now."""
        try:
            found = os.stat(path)
        except OSError:
            return cls(path, -1, 0)
        return cls(path, found.st_size, found.st_mtime_ns)


@dataclass
class Loaded:
    """What becomes a row of the index.

    Attributes:
        source: The file.
        sha256: Of its content; empty if it cannot be read.
        defect: Why it is no image, or None.
        width: In pixels, as one sees the image.
        height: Likewise.
        thumbnail: JPEG.
        ready: The model's input, float32 ``[3, H, W]``.
    """

    source: Source
    sha256: str = ''
    defect: Optional[str] = None
    width: int = 0
    height: int = 0
    thumbnail: bytes = b''
    ready: Optional[np.ndarray] = None


def load(source: Source, prepare: Callable[[Image.Image], np.ndarray], min_size: int, thumbnail: int) -> Loaded:
    """Load one file; a defect is told in the result, never raised.

    Args:
        source: The file.
        prepare: From Pillow's image in RGB to the model's input.
        min_size: See ``kdeov_mm.deploy.read_image``.
        thumbnail: Longer side of the thumbnail in pixels; 0: none.
    """
    found = Loaded(source)
    try:
        content = read_image_file(source.path)
        found.sha256 = hashlib.sha256(content).hexdigest()
        picture = read_picture(content, min_size)
        found.width, found.height = seen_size(content)
        found.ready = prepare(picture)
        found.thumbnail = make_thumbnail(picture, thumbnail) if thumbnail else b''
    except ImageError as error:
        found.defect = str(error).split(': ', 1)[-1]  # the path is told beside it
    except Exception as error:  # one file must not end a build of millions
        found.defect = f'{type(error).__name__}: {error}'
    return found


def seen_size(content: bytes) -> tuple:
    """Width and height of an image file, turned as its EXIF data say."""
    with open_image(content) as image:
        return upright_size(image)


def make_thumbnail(picture: Image.Image, size: int) -> bytes:
    """A JPEG whose longer side has ``size`` pixels at most; changes the picture."""
    file = io.BytesIO()
    picture.thumbnail(
        (size, size), Image.Resampling.BILINEAR, reducing_gap=1.0
    )  # twice as fast, good enough to look at
    Image.fromarray(np.asarray(picture)).save(file, 'JPEG', quality=QUALITY)
    return file.getvalue()
