"""Supported formats and sizes of image files in training, inference, runtime, index and demo."""

import io
import os
import struct
import warnings
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError, features

from .display import printable
from .errors import one_line
from .files import open_regular, read_file, walk_files


class BrokenImageError(ValueError):
    """Reports an image that cannot be decoded; raised by loading transforms and skipped by data sets."""


def find_decoders() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return formats and suffixes of AVIF and HEIC that the installed Pillow and pillow-heif decode."""
    formats: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    if 'avif' in features.modules and features.check('avif'):
        formats, suffixes = ('AVIF',), ('.avif',)
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return formats, suffixes
    register_heif_opener(thumbnails=False)
    return (*formats, 'HEIF'), (*suffixes, '.heic', '.heif')


# Of Pillow's formats: the usual ones, whose decoders start no other program (EPS starts Ghostscript).
EXTRA_FORMATS, EXTRA_SUFFIXES = find_decoders()
FORMATS = ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP', *EXTRA_FORMATS)
SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp', *EXTRA_SUFFIXES)
UNREAD_SUFFIXES = tuple(suffix for suffix in ('.avif', '.heic', '.heif') if suffix not in SUFFIXES)
BRANDS = (b'avif', b'avis', b'heic', b'heix', b'heim', b'heis', b'hevc', b'mif1', b'msf1')  # of AVIF and HEIC
INSTALL = 'run "pip install kdeov_mm[heif]", which reads AVIF and HEIC'
BYTE_ORDERS = {b'II': '<', b'MM': '>'}  # of TIFF and EXIF data
TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # others: 1
DIRECTORIES, MAX_DIRECTORIES = (330, 34665, 34853, 40965), 1000  # tags that name further lists of tags
ORIENTATION = 0x0112  # EXIF's tag; 1 is upright, from 5 on height and width are exchanged
MAX_PIXELS = 80_000_000  # 240 MB as RGB; below Pillow's own limit of 89 million
MAX_IMAGE_BYTES = 512 * 2**20  # of a file
START_OF_SCAN, MAX_SCANS = b'\xff\xda', 100  # JPEG's marker, which pixel data cannot contain


def read_image_file(path: str | Path) -> bytes:
    """Read an image file's content; see ``kdeov_mm.utils.files.read_file``."""
    return read_file(path, MAX_IMAGE_BYTES, 'image')


def find_image_files(folder: str | Path) -> list[str]:
    """Find files with an image suffix below a folder, sorted, as ``folder/...``.

    Special files with such a suffix are listed too; :func:`read_image_file` refuses them. One warning counts the AVIF
    and HEIC files that this installation cannot read.
    """
    paths = sorted(walk_files(folder))
    unread = Counter(suffix for suffix in map(suffix_of, paths) if suffix in UNREAD_SUFFIXES)
    if unread:
        counts = ', '.join(f'{count} {suffix}' for suffix, count in sorted(unread.items()))
        warnings.warn(f'image folder "{printable(str(folder))}": left out {counts}; {INSTALL}', stacklevel=2)
    return [path for path in paths if suffix_of(path) in SUFFIXES]


def suffix_of(path: str) -> str:
    """Return a path's suffix in lower case."""
    return os.path.splitext(path)[1].lower()


def open_image(content: bytes | BinaryIO) -> Image.Image:
    """Open an image from its content or file, without decoding its pixels.

    Raises:
        ValueError: If it has more than ``MAX_PIXELS`` pixels or pixels of 32 bits (:func:`check_depth`), or costs too
            much to decode (:func:`check_cost`).
        Exception: If it is no image in one of ``FORMATS``; Pillow raises any type.
    """
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    begin = file.tell()
    if file.read(4)[:2] in BYTE_ORDERS:  # TIFF, whose tags Pillow reads when it opens it
        file.seek(begin)
        check_tags(file.read(MAX_IMAGE_BYTES))
    file.seek(begin)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        head = file.read(12)
        if UNREAD_SUFFIXES and head[4:8] == b'ftyp' and head[8:] in BRANDS:
            raise ValueError(f'an AVIF or HEIC image, which nothing here decodes; {INSTALL}') from None
        raise UnidentifiedImageError(f'cannot identify it; the formats are {", ".join(FORMATS)}') from None
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f'{image.width} x {image.height} pixels; at most {MAX_PIXELS} are read')
    check_depth(image)
    check_cost(image, file)
    return image


def check_cost(image: Image.Image, file: BinaryIO) -> None:
    """Raise ValueError for an image that costs far more memory or time to decode than its size suggests.

    Pillow's decoder of run-length encoded BMP has no limit of memory. Each scan of a progressive JPEG passes over all
    pixels; usual files have about ten scans.
    """
    if image.format == 'BMP' and image.info.get('compression') in (1, 2):
        raise ValueError('run-length encoded BMP, which is not read; save it as PNG')
    if image.format in ('JPEG', 'MPO'):
        position = file.tell()
        file.seek(0)
        scans = file.read(MAX_IMAGE_BYTES).count(START_OF_SCAN)
        file.seek(position)
        if scans > MAX_SCANS:
            raise ValueError(f'a JPEG of {scans} scans; at most {MAX_SCANS} are read; save it again')


def orientation(image: Image.Image) -> int:
    """Return how EXIF says that an image is rotated, from 1 (upright) to 8.

    Raises:
        ValueError: If the EXIF data claim more bytes than they have, see :func:`check_tags`.
    """
    exif, profile = image.info.get('exif'), image.info.get('Raw profile type exif')
    if exif is None and isinstance(profile, str):  # PNG: three lines, then hexadecimal digits
        exif = bytes.fromhex(''.join(profile.split('\n')[3:]))
    if isinstance(exif, bytes):
        check_tags(exif.removeprefix(b'Exif\0\0'))
    return image.getexif().get(ORIENTATION, 1)


def check_tags(content: bytes) -> None:
    """Raise ValueError if the tags of TIFF or EXIF data claim more bytes than there are.

    Many tags may name the same bytes, of which Pillow keeps a copy for each tag. The format is that of TIFF 6.0,
    section 2, and of BigTIFF.
    """
    order = BYTE_ORDERS.get(content[:2])
    if order is None or len(content) < 8:
        return
    big = struct.unpack(order + 'H', content[2:4])[0] == 43
    head, entry, pointer, inline = ('Q', 'HHQ', 'Q', 8) if big else ('H', 'HHI', 'I', 4)
    left, seen, total = [struct.unpack_from(order + pointer, content, 8 if big else 4)[0]], set(), 0
    try:
        while left:
            position = left.pop()
            if not position or position in seen or len(seen) > MAX_DIRECTORIES:
                continue
            seen.add(position)
            (count,) = struct.unpack_from(order + head, content, position)
            position += struct.calcsize(order + head)
            for _ in range(count):
                tag, kind, number = struct.unpack_from(order + entry, content, position)
                position += struct.calcsize(order + entry)
                size = number * TYPE_BYTES.get(kind, 1)
                total += size if size > inline else 0
                if tag in DIRECTORIES:
                    left.append(struct.unpack_from(order + pointer, content, position)[0])
                position += inline
                if total > len(content):
                    raise ValueError(f'its tags claim more than its {len(content)} bytes')
            left.append(struct.unpack_from(order + pointer, content, position)[0])
    except struct.error:
        return  # cut short: Pillow reads no further, either


def check_depth(image: Image.Image) -> None:
    """Raise ValueError for pixels of 32 bits.

    TIFF and PFM may hold 32-bit integers and floating-point numbers. The file does not say which range they have, so
    both are refused. 16-bit integers are accepted; readers keep the upper 8 bits.
    """
    if image.mode == 'F' or (image.mode == 'I' and image.format in ('TIFF', None)):
        kind = 'float' if image.mode == 'F' else 'integer'
        raise ValueError(f'32-bit {kind} pixels of unknown range; scale them to 8 or 16 bits')


def image_defect(image: str | bytes) -> str | None:
    """Say why an image, a file's path or its content, cannot be used, or None if it can.

    OpenCV silently fills what a truncated JPEG lacks with grey, so decoding alone does not tell. Reading the
    header and the end of the file does, and costs little; only a file without the end that its format demands
    is decoded in full. Special files and images beyond the limits of ``kdeov_mm.utils.image_files`` cannot be used.
    """
    try:
        with io.BytesIO(image) if isinstance(image, bytes) else open_regular(image, MAX_IMAGE_BYTES, 'image') as file:
            with open_image(file) as header:
                end = dict(JPEG=b'\xff\xd9', PNG=b'IEND').get(header.format)
                position = file.tell()
                file.seek(max(0, file.seek(0, os.SEEK_END) - 1024))
                complete = end is not None and end in file.read()
                file.seek(position)
                if not complete:
                    header.load()
    except FileNotFoundError:
        return 'does not exist'
    except Exception as error:  # PIL's decoders raise anything from OSError to SyntaxError
        return f'{type(error).__name__}: {one_line(error)}'
    return None
