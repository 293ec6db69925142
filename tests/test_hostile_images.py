"""Every reader of images refuses special files, foreign formats and too many pixels, in little memory and time."""

import io
import json
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from kdeov_mm.apis import InputImage
from kdeov_mm.deploy import read_image

ROOT = Path(__file__).resolve().parents[1]
READERS = """
import json, os, resource, signal, sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import kdeov_mm
from kdeov_mm.apis import InputImage
from kdeov_mm.datasets import LoadImageReduced
from kdeov_mm.datasets.broken_images import BrokenImageError
from kdeov_mm.datasets.coco_file import image_defect
from kdeov_mm.datasets.load_image import decode_image
from kdeov_mm.demo.uploads import Limits, read_upload
from kdeov_mm.deploy import read_image
from kdeov_mm.evaluation.pictures import show_image

def training(path):
    defect = image_defect(path)
    if defect:
        raise BrokenImageError(defect)

def index(path):
    from kdeov_mm.search.load import Source, load
    loaded = load(Source.of(path), np.asarray, 0, 0)
    if loaded.defect:
        raise ValueError(loaded.defect)

if '--index' in sys.argv:
    import kdeov_mm.search.load
readers = dict(
    training=training,
    pipeline=lambda path: LoadImageReduced().transform(dict(img_path=path)),
    api=lambda path: InputImage(path, path).read(),
    runtime=read_image,
    demo=lambda path: read_upload(path, Limits()),
    report=lambda path: show_image(Figure().subplots(), path),
    **(dict(index=index) if '--index' in sys.argv else {}),
)
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
signal.alarm(600)
found = {}
for path in sys.argv[2:]:
    for name, read in readers.items():
        try:
            read(path)
            found.setdefault(path, {})[name] = None
        except BaseException as error:
            found.setdefault(path, {})[name] = type(error).__name__ + ('' if path.isascii() else str(error))
print(json.dumps(found), flush=True)
os._exit(0)  # libraries need not end in so little memory
"""


def test_no_reader_takes_hostile_files(hostile):
    _, paths = hostile
    has_index = find_spec('lancedb') is not None
    done = subprocess.run(
        [sys.executable, '-c', READERS, '--index' if has_index else '', *paths.values()],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND='agg'),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(paths) and all(len(readers) == 6 + has_index for readers in found.values())
    for path, readers in found.items():
        for reader, error in readers.items():
            assert error is not None, (path, reader)
            assert 'MemoryError' not in error and '\x1b' not in error and '\u202e' not in error, (path, reader, error)


def test_an_index_and_training_find_folders_that_hold_themselves(hostile):
    from kdeov_mm.apis import find_images
    from kdeov_mm.datasets.caption_files import read_folder

    folder, paths = hostile
    assert sorted(find_images([str(folder)])) == sorted(paths.values())
    assert sorted(read_folder(str(folder))) == sorted(os.path.relpath(path, folder) for path in paths.values())


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
