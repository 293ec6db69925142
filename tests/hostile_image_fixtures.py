"""Image files that nobody should have to trust, written for each test."""

import os
import stat

import numpy as np
import pytest
from PIL import Image

BOMB = (13_000, 13_000)  # 169 megapixels, of which the file has 30 KB


def write_hostile_images(folder):
    """Write files that no image reader may accept, and a link that leads back to the folder.

    Returns:
        dict: The path of each by what it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        name: folder / file
        for name, file in dict(
            fifo='fifo.jpg', zero='zero.jpg', absent='absent.jpg', eps='eps.jpg', bomb='bomb.png', float32='f.tif',
            int32='i.tif', uint32='u.tif', huge='huge.jpg', escape='\x1b[31m\u202egpj.jpg',
        ).items()
    }  # fmt: skip
    paths['not_utf8'] = folder / os.fsdecode(b'\xff\xfe.jpg')
    os.mkfifo(paths['fifo'])
    paths['zero'].symlink_to('/dev/zero')
    paths['absent'].symlink_to('nowhere')
    Image.new('RGB', (8, 8)).save(paths['eps'], 'EPS')
    Image.new('1', BOMB).save(paths['bomb'])
    for name, kind in dict(float32=np.float32, int32=np.int32, uint32=np.uint32).items():
        Image.fromarray(np.full((8, 8), 70_000, kind)).save(paths[name])
    with open(paths['huge'], 'wb') as file:
        os.truncate(file.fileno(), 2**40)  # sparse
    for name in ('escape', 'not_utf8'):
        paths[name].write_bytes(b'no image')
    (folder / 'loop').symlink_to('.')
    return {name: str(path) for name, path in paths.items()}


@pytest.fixture
def hostile(tmp_path):
    """The folder ``hostile`` and the paths of what is in it."""
    try:
        paths = write_hostile_images(tmp_path / 'hostile')
    except (OSError, AttributeError) as error:
        pytest.skip(f'this system has no such files: {error}')
    assert stat.S_ISFIFO(os.stat(paths['fifo']).st_mode)
    return tmp_path / 'hostile', paths
