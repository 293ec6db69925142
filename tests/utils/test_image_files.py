"""Formats and sizes of images that are opened at all."""

import io
import struct

import pytest
from kdeov_mm.apis import InputImage
from kdeov_mm.utils.image_files import MAX_PIXELS, open_image
from kdeov_mm.utils.images import read_image
from PIL import Image

pytestmark = pytest.mark.usefixtures('bounded_memory')


def encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def test_usual_formats_open():
    for format in ('BMP', 'GIF', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP'):
        assert open_image(encoded(Image.new('RGB', (5, 4)), format)).size == (5, 4)


def test_postscript_is_refused():
    with pytest.raises(Exception, match='identify'):
        open_image(encoded(Image.new('RGB', (5, 4)), 'EPS'))


def test_too_many_pixels_are_refused_before_decoding():
    assert MAX_PIXELS < Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match='13000 x 13000'):
        open_image(encoded(Image.new('1', (13_000, 13_000)), 'PNG'))


def test_bmp_in_run_lengths_and_jpeg_of_many_scans(tmp_path):
    """Both cost far more than their size and their number of pixels say."""
    palette, content = bytes(1024), b'\0\2\0\xff'
    header = struct.pack('<IiiHHIIiiII', 40, 8_000_000, 1, 1, 8, 1, len(content), 0, 0, 256, 0)
    offset = 14 + len(header) + len(palette)
    bmp = b'BM' + struct.pack('<IHHI', offset + len(content), 0, 0, offset) + header + palette + content
    saved = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(saved, 'JPEG', progressive=True)
    jpeg = saved.getvalue()
    last = jpeg.rindex(b'\xff\xda')
    many = jpeg[:last] + jpeg[last:-2] * 200 + jpeg[-2:]
    assert read_image(jpeg).shape == (64, 64, 3)
    for index, bad in enumerate((bmp, many)):
        with pytest.raises(ValueError):
            read_image(bad)
        (tmp_path / f'{index}.img').write_bytes(bad)
        with pytest.raises(ValueError, match=f'{index}.img'):
            InputImage('', path=str(tmp_path / f'{index}.img')).read()


def tags_of(count, size, big=False):
    """TIFF data with many tags that name the same bytes."""
    head = b'II' + struct.pack('<H', 42) + struct.pack('<I', 8)
    entries = b''.join(struct.pack('<HHII', 60000 + k % 5000, 1, size, 0) for k in range(count))
    return head + struct.pack('<H', count) + entries + struct.pack('<I', 0)


def test_tags_that_share_their_bytes_are_refused():
    saved = io.BytesIO()
    Image.new('RGB', (8, 8)).save(saved, 'PNG', exif=tags_of(2000, 20_000))
    for content in (tags_of(2000, 20_000), saved.getvalue()):
        with pytest.raises(ValueError, match='claim|identify'):
            read_image(content)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, 'a description'
    for format in ('JPEG', 'PNG', 'TIFF', 'WEBP'):
        saved = io.BytesIO()
        Image.new('RGB', (8, 4)).save(saved, format, exif=exif.tobytes())
        assert read_image(saved.getvalue()).shape == (8, 4, 3), format
