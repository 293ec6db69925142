"""Images of every unpleasant kind: each has a defined result or a reason, and the build goes on."""

import numpy as np
import pytest
from PIL import Image

from kdeov_mm.deploy import read_image
from kdeov_mm.search import check_index, update_index
from kdeov_mm.search.store import select
from search_data import write_images

LEFT, RIGHT = (200, 30, 40), (20, 60, 220)


def picture():
    """Red at the left, blue at the right, 96 x 48."""
    pixels = np.zeros((48, 96, 3), np.uint8)
    pixels[:, :48], pixels[:, 48:] = LEFT, RIGHT
    return Image.fromarray(pixels)


@pytest.fixture
def odd(tmp_path):
    """Files of one picture in formats that are easily read wrongly."""
    image, folder = picture(), tmp_path / 'odd'
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image.rotate(90, expand=True).save(folder / 'turned.jpg', exif=exif, quality=95)
    image.convert('CMYK').save(folder / 'cmyk.jpg', quality=95)
    image.convert('P', palette=Image.Palette.ADAPTIVE).save(folder / 'palette.png')
    image.convert('RGBA').save(folder / 'transparent.png')
    image.save(folder / 'jpeg.jpg', quality=95)
    image.save(folder / 'png_named_jpg.jpg', 'PNG')
    image.save(folder / 'animated.gif', save_all=True, append_images=[Image.new('RGB', image.size, 'white')])
    return folder


def test_odd_formats_are_read_as_one_sees_them(store, encoder, odd):
    paths = sorted(map(str, odd.iterdir()))
    report = update_index(paths, store, encoder)
    assert report.broken == {} and report.added == len(paths) == 7
    expected = encoder.encode([encoder.prepare(np.asarray(picture()))])[0]
    for row in select(store.images, 'true'):
        assert (row['width'], row['height']) == (96, 48), row['path']
        assert np.asarray(row['embedding']) @ expected > 0.98, row['path']
        thumbnail = read_image(row['thumbnail'])
        assert thumbnail.shape == (48, 96, 3)
        assert np.abs(thumbnail[24, 12].astype(int) - LEFT).max() < 60, row['path']


def test_deep_grey_and_huge_images(store, encoder, tmp_path):
    grey = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(grey).save(tmp_path / 'grey16.png')
    Image.fromarray((grey >> 8).astype(np.uint8)).save(tmp_path / 'grey8.png')
    Image.new('RGB', (20_000, 200), 'green').save(tmp_path / 'wide.jpg')
    paths = [str(tmp_path / name) for name in ('grey16.png', 'grey8.png', 'wide.jpg')]
    assert update_index(paths, store, encoder).broken == {}
    rows = {row['path']: row for row in select(store.images, 'true')}
    assert np.asarray(rows[paths[0]]['embedding']) @ rows[paths[1]]['embedding'] > 0.999
    assert (rows[paths[2]]['width'], rows[paths[2]]['height']) == (20_000, 200)


def test_what_is_no_image_is_reported_and_the_build_goes_on(store, encoder, tmp_path):
    good = write_images(tmp_path / 'good', 6)
    content = (tmp_path / 'good' / '00000.jpg').read_bytes()
    bad = dict(empty=b'', text=b'no image at all', cut=content[: len(content) // 2])
    for name, data in bad.items():
        (tmp_path / f'{name}.jpg').write_bytes(data)
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / 'float.tif')
    broken = [str(tmp_path / name) for name in ('empty.jpg', 'text.jpg', 'cut.jpg', 'float.tif', 'absent.jpg')]
    report = update_index([*broken[:3], *good[:3], *broken[3:], *good[3:]], store, encoder, batch_size=2, commit_size=3)
    assert report.added == 6 and sorted(report.broken) == sorted(broken)
    assert '0 bytes' in report.broken[broken[0]] and 'FileNotFoundError' in report.broken[broken[4]]
    assert all(report.broken.values())
    assert {row['path'] for row in store.broken()} == set(broken) and check_index(store) == []
