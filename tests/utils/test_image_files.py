"""Formats and sizes of images that are opened at all."""

import io

import pytest
from kdeov_mm.utils.image_files import MAX_PIXELS, open_image
from PIL import Image


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
