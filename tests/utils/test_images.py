"""Reading of images of every kind."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from kdeov_mm.deploy import ImageError, read_image, read_images


@pytest.fixture
def rgb():
    """A smooth picture of 40 x 64 pixels."""
    y, x = np.mgrid[:40, :64]
    return np.stack([4 * x, 6 * y, 255 - 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_colours_are_those_of_the_file(rgb, tmp_path):
    found = read_image(save(tmp_path / 'a.png', Image.fromarray(rgb)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, rgb)
    np.testing.assert_array_equal(read_image((tmp_path / 'a.png').read_bytes()), rgb)


def test_a_jpeg_is_what_opencv_makes_of_it(rgb, tmp_path):
    path = save(tmp_path / 'a.jpg', Image.fromarray(rgb))
    np.testing.assert_allclose(read_image(path), cv2.imread(str(path))[..., ::-1], atol=3)


@pytest.mark.parametrize('mode, tolerance', [('CMYK', 0), ('L', 0), ('RGBA', 0), ('LA', 0), ('1', 0), ('P', 0)])
def test_every_mode_becomes_rgb(rgb, tmp_path, mode, tolerance):
    image = Image.fromarray(rgb).convert(mode)
    found = read_image(save(tmp_path / 'a.tif' if mode == 'CMYK' else tmp_path / 'a.png', image))
    np.testing.assert_allclose(found, np.asarray(image.convert('RGB')), atol=tolerance)


def test_a_cmyk_jpeg_shows_its_colours(rgb, tmp_path):
    found = read_image(save(tmp_path / 'a.jpg', Image.fromarray(rgb).convert('CMYK'), quality=95))
    np.testing.assert_allclose(found, rgb, atol=24)


def test_sixteen_bits_become_eight(tmp_path):
    deep = (np.arange(40 * 64, dtype=np.uint16) * 25).reshape(40, 64)
    cv2.imwrite(str(tmp_path / 'a.png'), deep)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png'), np.repeat((deep >> 8)[..., None], 3, axis=2))
    cv2.imwrite(str(tmp_path / 'b.png'), np.repeat(deep[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_image(tmp_path / 'b.png'), np.repeat((deep >> 8)[..., None], 3, axis=2))


def test_exif_turns_the_image(rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = save(tmp_path / 'a.png', Image.fromarray(rgb), exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(rgb, -1))


@pytest.mark.parametrize('suffix', ['gif', 'webp', 'png'])
def test_an_animation_is_its_first_frame(tmp_path, suffix):
    first, second = (Image.new('RGB', (8, 8), colour) for colour in ('red', 'blue'))
    path = save(tmp_path / f'a.{suffix}', first, save_all=True, append_images=[second], lossless=True)
    assert (read_image(path) == (255, 0, 0)).all()


def test_a_wide_image_and_a_wrong_extension(tmp_path):
    wide = np.zeros((2, 20000, 3), np.uint8)
    wide[:, 12345] = 200
    path = save(tmp_path / 'a.png', Image.fromarray(wide)).rename(tmp_path / 'a.jpg')
    np.testing.assert_array_equal(read_image(path), wide)


@pytest.mark.parametrize('size, expected', [((800, 640), (100, 80)), ((640, 500), (160, 125)), ((100, 79), (100, 79))])
def test_a_jpeg_is_read_at_reduced_scale(tmp_path, size, expected):
    path = save(tmp_path / 'a.jpg', Image.new('RGB', size, 'green'))
    assert read_image(path, min_size=80).shape[1::-1] == expected
    assert read_image(path).shape[1::-1] == size


def test_what_is_no_image_is_named(rgb, tmp_path, monkeypatch):
    whole = io.BytesIO()
    Image.fromarray(rgb).save(whole, 'jpeg')
    bad = {'empty.jpg': b'', 'text.png': b'not an image', 'cut.jpg': whole.getvalue()[:-200]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match='0 bytes'):
        read_image(b'')
    save(tmp_path / 'float.tif', Image.new('F', (8, 8)))
    with pytest.raises(ImageError, match=r'float\.tif.*float'):
        read_image(tmp_path / 'float.tif')
    with pytest.raises(FileNotFoundError, match='absent.jpg'):
        read_image(tmp_path / 'absent.jpg')
    monkeypatch.setattr('kdeov_mm.utils.image_files.MAX_PIXELS', 100)
    with pytest.raises(ImageError, match='64 x 40 pixels'):
        read_image(whole.getvalue())


def test_a_batch_goes_on_without_the_bad_ones(rgb, tmp_path):
    good, other = (save(tmp_path / name, Image.fromarray(rgb)) for name in ('a.png', 'b.png'))
    (tmp_path / 'c.png').touch()
    images, kept, defects = read_images([good, tmp_path / 'c.png', tmp_path / 'd.png', other])
    assert kept == [0, 3] and len(images) == 2
    assert 'c.png' in defects[1] and 'd.png' in defects[2] and len(defects) == 2
