"""``kdeov index`` from end to end, and what it says of bad input."""

import json
import os
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdeov_mm.search import ImageStore, check_index
from search_data import DIMS, write_encoder, write_images, write_text_encoder

CONFIG = """
model = dict(text_encoder=dict(
    type='PrecomputedTextEncoder', embeddings='texts.npy', names=['a red bus at night', 'wide']))
"""


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / 'photos', 12)


@pytest.fixture
def text(tmp_path, encoder, photos):
    """A text encoder that embeds every text as the fourth photo; config.py does so with "a red bus at night"."""
    from kdeov_mm.deploy import read_image

    bus = encoder.encode([encoder.prepare(read_image(photos[3]))])[0]
    np.save(tmp_path / 'texts.npy', np.stack([bus, np.eye(DIMS)[0]]).astype(np.float32))
    (tmp_path / 'config.py').write_text(CONFIG)
    write_text_encoder(tmp_path / 'text.onnx', bus)
    return 'text.onnx'


@pytest.fixture
def built(tool, encoder_file, photos, text):
    """A tool whose index has the photos."""
    tool('build', 'photos', '--model', encoder_file, '--text', text, '--index', 'index', '--threads', 1)
    return tool


def numbers(capsys):
    """The integers of the first line that was printed."""
    return [int(number) for number in re.findall(r'\b\d+\b', capsys.readouterr().out.splitlines()[0])]


def test_build_query_add_remove(tool, photos, text, capsys, encoder_file, tmp_path):
    tool('build', 'photos', '--model', encoder_file, '--text', text, '--index', 'index', '--threads', 1)
    assert numbers(capsys) == [12, 12, 0, 0, 0]  # files, added, unchanged, duplicates, broken
    tool(
        'query', 'a red bus at night', '--index', 'index', '--top', 3, '--json', 'found.json', '--picture', 'found.png'
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[2] == photos[3] and float(lines[0].split()[1]) > 0.999 and len(lines) == 4
    found = json.loads(Path('found.json').read_text())
    assert [row['path'] for row in found][0] == photos[3] and found[0]['width'] == 48
    with Image.open('found.png') as picture:
        assert picture.width > 3 * picture.height / 2
    capsys.readouterr()
    query = ('query', 'a red bus at night', '--index', 'index', '--top', 3, '--json', 'found.json')
    tool(*query, '--threshold', 0.5)
    likely = json.loads(Path('found.json').read_text())
    assert [row['path'] for row in likely] == [row['path'] for row in found if row['score'] >= 0.9]
    for row in likely:
        assert row['probability'] == pytest.approx(1 / (1 + np.exp(-100 * (row['score'] - 0.9))), abs=1e-4)
    tool('query', '--image', photos[5], '--index', 'index', '--top', 1)
    assert photos[5] in capsys.readouterr().out
    np.save('one.npy', np.load('texts.npy')[:1])
    tool('query', '--embedding', 'one.npy', '--index', 'index', '--top', 1)
    assert photos[3] in capsys.readouterr().out

    tool('remove', photos[3], '--index', 'index')
    assert numbers(capsys) == [1] and len(ImageStore.open('index')) == 11
    tool('query', 'a red bus at night', '--index', 'index', '--top', 20)
    assert photos[3] not in capsys.readouterr().out
    write_images(tmp_path / 'more', 2, seed=7)
    tool('add', 'more', 'photos', '--index', 'index')
    assert numbers(capsys)[:3] == [14, 3, 11]
    shutil.rmtree('more')
    tool('remove', '--missing', '--index', 'index')
    assert numbers(capsys) == [2]
    tool('info', '--index', 'index')
    told = capsys.readouterr().out
    assert re.search(r'\b12 images\b.*\b0 duplicates\b', told) and encoder_file in told
    tool('verify', '--files', '--index', 'index')
    Path(photos[0]).unlink()
    with pytest.raises(SystemExit) as stop:
        tool('verify', '--files', '--index', 'index')
    assert stop.value.code == 1 and photos[0] in capsys.readouterr().out


def test_broken_images_are_told_and_listed(tool, encoder_file, photos, capsys):
    Path('photos/empty.jpg').write_bytes(b'')
    Path('photos/text.png').write_text('no image')
    Path('photos/cut.jpg').write_bytes(Path(photos[0]).read_bytes()[:300])
    for _ in range(2):  # the second time they are known, and still listed
        tool('build', 'photos', '--model', encoder_file, '--index', 'index')
        told = capsys.readouterr().out
        assert re.search(r'\b3 files\b.*index/broken\.tsv', told) and re.search(r'\b12 images\b', told)
        listed = dict(line.split('\t') for line in Path('index/broken.tsv').read_text().splitlines())
        assert sorted(Path(path).name for path in listed) == ['cut.jpg', 'empty.jpg', 'text.png']
        assert all(listed.values())
    assert re.search(r'\b15 unchanged\b', told)
    write_images(Path('photos'), 1)  # one is restored
    shutil.copy(photos[5], 'photos/empty.jpg')
    tool('add', 'photos', '--index', 'index')
    assert re.search(r'\b1 duplicates\b', capsys.readouterr().out)


@pytest.mark.parametrize(
    'args, named',
    [
        (['build', 'photos', '--model', 'absent.onnx'], 'absent.onnx'),
        (['build', 'photos', '--model', 'cut.onnx'], '"cut.onnx"'),
        (['build', 'photos', '--model', 'other.onnx'], 'other.onnx'),
        (['build', 'absent', '--model', 'ENCODER'], 'absent'),
        (['build', 'nothing', '--model', 'ENCODER'], 'nothing'),
        (['build', 'photos', '--model', 'ENCODER', '--text', 'absent.py'], 'absent.py'),
        (['build', 'photos', '--model', 'ENCODER', '--batch-size', '0'], '--batch-size 0'),
        (['build', 'photos', '--model', 'ENCODER', '--decode-size', '-1'], '--decode-size -1'),
        (['add', 'photos', '--index', 'absent'], "'absent'"),
        (['query', 'a red bus at night', '--index', 'absent'], "'absent'"),
        (['query', '  '], 'query'),
        (['query'], '--embedding'),
        (['query', 'cat', '--image', 'photos/00001.jpg'], '--embedding'),
        (['query', 'cat', '--text', 'config.py'], "'cat'"),
        (['query', 'cat\udcff'], 'UTF-8'),
        (['query', 'wide', '--text', 'notes.txt'], 'notes.txt'),
        (['query', 'wide', '--text', 'narrow.py'], 'narrow.py'),
        (['query', 'wide', '--top', '0'], '--top'),
        (['query', 'wide', '--threshold', '1.5'], '--threshold'),
        (['query', '--image', 'photos/00001.jpg', '--threshold', '0.5'], '--threshold'),
        (['query', 'wide', '--version', '77'], '77'),
        (['query', '--image', 'absent.jpg'], 'absent.jpg'),
        (['query', '--embedding', 'notes.txt'], 'notes.txt'),
        (['query', '--embedding', 'fifo.npy'], 'fifo.npy'),
        (['query', '--embedding', 'texts.npy'], 'query'),
        (['remove'], '--missing'),
        (['remove', 'photos', '--missing'], '--missing'),
        (['info', '--index', 'absent'], "'absent'"),
    ],
)
def test_bad_input_gets_one_line(built, encoder_file, args, named, tmp_path, capsys):
    if not Path('fifo.npy').exists():
        os.mkfifo('fifo.npy')
    Path('cut.onnx').write_bytes(Path(encoder_file).read_bytes()[:100])
    write_encoder('other.onnx', bias=-0.3)
    Path('notes.txt').write_text('notes')
    Path('nothing').mkdir()
    np.save('narrow.npy', np.ones((1, 3), np.float32))
    Path('narrow.py').write_text(
        CONFIG.replace('texts.npy', 'narrow.npy').replace("['a red bus at night', 'wide']", "['wide']")
    )
    args = [encoder_file if arg == 'ENCODER' else arg for arg in args]
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        built(*args, *([] if '--index' in args else ['--index', 'index']))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and error.startswith('error: ') and named in error and len(error) < 400


def test_a_text_encoder_must_be_named(tool, encoder_file, photos, capsys):
    tool('build', 'photos', '--model', encoder_file, '--index', 'index')
    with pytest.raises(SystemExit):
        tool('query', 'a red bus at night', '--index', 'index')
    assert '--text' in capsys.readouterr().err


def test_a_config_is_used_when_given_but_not_remembered(tool, encoder_file, photos, text, capsys):
    for _ in range(2):
        tool('build', 'photos', '--model', encoder_file, '--text', 'config.py', '--index', 'index')
        assert 'config.py' in capsys.readouterr().out
    assert ImageStore.open('index').model.text is None
    with pytest.raises(SystemExit):
        tool('query', 'a red bus at night', '--index', 'index')
    tool('query', 'a red bus at night', '--text', 'config.py', '--index', 'index', '--top', 1)
    assert photos[3] in capsys.readouterr().out


def test_an_index_moves_with_the_encoders_inside_it(tool, encoder_file, photos, text, capsys):
    Path('index').mkdir()
    shutil.copy(encoder_file, 'index/image.onnx')
    shutil.move(text, 'index/text.onnx')
    tool('build', 'photos', '--model', 'index/image.onnx', '--text', 'index/text.onnx', '--index', 'index')
    assert ImageStore.open('index').model.path == 'image.onnx'
    shutil.move('index', 'moved')
    capsys.readouterr()
    tool('query', 'a red bus at night', '--index', 'moved', '--top', 1)
    assert photos[3] in capsys.readouterr().out
    tool('query', '--image', photos[5], '--index', 'moved', '--top', 1)
    assert photos[5] in capsys.readouterr().out


def test_a_name_that_is_not_utf8_is_listed_and_the_build_goes_on(tool, encoder_file, photos, capsys):
    bad = os.fsdecode(b'photos/a\xff\n.jpg')
    shutil.copy(photos[0], bad)
    for _ in range(2):
        tool('build', 'photos', '--model', encoder_file, '--index', 'index', '--commit-size', 5)
        told = capsys.readouterr().out
        assert re.search(r'\b13 files\b', told) and re.search(r'\b12 images\b', told)
        (line,) = Path('index/broken.tsv').read_text().splitlines()
        assert line.split('\t')[0].endswith('photos/a\\udcff\\n.jpg')
    tool('remove', bad, '--index', 'index')
    assert numbers(capsys) == [0]
    with pytest.raises(SystemExit) as stop:
        tool('build', 'photos', '--model', encoder_file, '--index', os.fsdecode(b'index\xff'))
    assert stop.value.code == 2


@pytest.mark.parametrize('limit', [0, 1000, 4000])
def test_a_full_disk_ends_in_one_line_and_the_build_goes_on_later(tool, encoder_file, photos, capsys, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # as a full disk, the system refuses to write
    try:
        with pytest.raises(SystemExit) as stop:
            tool('build', 'photos', '--model', encoder_file, '--index', 'index')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and error.startswith('error: ') and 'index' in error and 'Traceback' not in error
    tool('build', 'photos', '--model', encoder_file, '--index', 'index')
    store = ImageStore.open('index')
    assert len(store) == 12 and check_index(store, files=True) == []
