"""Indexes that somebody else made: what they name is never executed, and what they hold is refused by their name."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from search_data import DIMS, write_encoder, write_external, write_images, write_text_encoder

from kdeov_mm.search import ImageStore, check_index, image_encoder_file, text_encoder_file, update_index
from kdeov_mm.search.store import METADATA, SKIPPED_SCHEMA, image_schema
from kdeov_mm.utils import InputError

pytestmark = pytest.mark.usefixtures('bounded_memory')
PAYLOAD = (
    "open('executed', 'w').close()\ncustom_hooks = [dict(type='VocabularyHook', text_encoder=dict(type='None'))]\n"
)
ROW = dict(sha256='0' * 64, path='/photo.jpg', size=1, mtime_ns=1, width=1, height=1, thumbnail=b'')


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """Every test works in its own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(encoder):
    return encoder.describe()


def forge(model, folder='index', rows=(), metadata=None, change=None):
    """An index as somebody with LanceDB would make it."""
    schema = image_schema(model)
    schema = schema.with_metadata(schema.metadata if metadata is None else metadata)
    schema = change(schema) if change else schema
    rows = [dict(ROW, embedding=np.eye(DIMS)[0].tolist()) | row for row in rows]
    images = lancedb.connect(folder).create_table('images', schema=schema)
    if rows:
        rows = pa.Table.from_pylist(rows, schema=schema)
        with mock.patch('lancedb.table._handle_bad_vector_column', lambda batch, *args, **kwargs: batch):
            images.merge_insert('path').when_not_matched_insert_all().execute(rows)
    return folder


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_payloads():
    """Files and folders that run code as configs; their paths."""
    folders = [Path('evil'), Path('evil_folder.onnx')]
    for folder in folders:
        folder.mkdir()
        (folder / 'config.py').write_text(PAYLOAD)
        (folder / 'epoch_1.pth').touch()
    Path('evil.py').write_text(PAYLOAD)
    Path('python.onnx').write_text(PAYLOAD)
    Path('link.onnx').symlink_to(Path('evil.py').absolute())
    return dict(config='evil.py', folder='evil', named_onnx='evil_folder.onnx', python='python.onnx', link='link.onnx')


def kdeov(*args):
    from kdeov_mm.cli import main

    return main([str(arg) for arg in args])


@pytest.mark.parametrize('kind', ['config', 'folder', 'named_onnx', 'python', 'link'])
@pytest.mark.parametrize('command', ['tool', 'tool --image', 'tool add', 'search', 'search --image'])
def test_what_an_index_names_is_never_executed(tool, model, command, kind, capsys):
    path = os.path.abspath(write_payloads()[kind])
    sha256 = digest(path) if os.path.isfile(path) else '0' * 64
    photo = write_images(Path('photos'), 1)[0]
    named = dict(text=path, text_sha256=sha256)
    if 'image' in command or 'add' in command:
        named = dict(path=path, sha256=sha256)
    forge(replace(model, **named), rows=[{}])
    asked = ['--image', photo] if 'image' in command else ['photos'] if 'add' in command else ['a dog']
    with pytest.raises(SystemExit) as stop:
        if command.startswith('tool'):
            tool('add' if 'add' in command else 'query', *asked, '--index', 'index')
        else:
            kdeov('search', *asked, '--index', 'index')
    assert stop.value.code == 2 and not Path('executed').exists()
    assert os.path.basename(path) in capsys.readouterr().err


def test_the_api_reads_nothing_that_an_index_names(model):
    from kdeov_mm.apis.inferencer import open_index

    path = os.path.abspath(write_payloads()['config'])
    forge(replace(model, path=path, text=path), rows=[{}])
    assert len(open_index('index')) == 1 and not Path('executed').exists()


def test_models_that_lancedb_would_load_are_refused(model, encoder):
    """LanceDB makes an object of each function that a table's metadata name, some of which run code of the internet."""
    from lancedb.embeddings import EmbeddingFunctionRegistry, TextEmbeddingFunction

    made = []

    class Function(TextEmbeddingFunction):
        @classmethod
        def create(cls, **kwargs):
            made.append(kwargs)
            return super().create(**kwargs)

        def ndims(self):
            return DIMS

        def generate_embeddings(self, texts):
            return [np.ones(DIMS)] * len(texts)

    EmbeddingFunctionRegistry.get_instance().register('hostile')(Function)
    functions = [dict(name='hostile', model={}, source_column='path', vector_column='embedding')]
    bad = {b'embedding_functions': json.dumps(functions).encode()}
    forge(model, metadata={**image_schema(model).metadata, **bad})
    paths = write_images(Path('photos'), 1)
    made.clear()
    with pytest.raises(ValueError, match='index'):
        update_index(paths, ImageStore.open('index'), encoder)
    assert made == []
    forge(model, 'other')
    lancedb.connect('other').create_table('skipped', schema=SKIPPED_SCHEMA.with_metadata(bad))
    Path('broken.jpg').touch()
    made.clear()
    with pytest.raises(ValueError, match='other'):
        update_index(['broken.jpg'], ImageStore.open('other'), encoder)
    assert made == []


def test_named_files(model, tmp_path):
    """Only an unchanged ONNX file that is whole, and inside if its path is relative."""
    text_encoder = write_text_encoder(tmp_path / 'text.onnx', np.eye(DIMS)[1])
    store = ImageStore.open(forge(replace(model, text=text_encoder, text_sha256=digest(text_encoder))))
    assert text_encoder_file(store) == text_encoder and image_encoder_file(store) == model.path
    shutil.copy(text_encoder, 'index/inside.onnx')
    os.symlink(text_encoder, 'index/out.onnx')
    os.mkfifo('index/pipe.onnx')
    os.symlink('/dev/zero', 'index/zero.onnx')
    write_external(tmp_path / 'external.onnx', '../secret')
    shutil.copy(text_encoder, 'index/other.txt')
    names = ['out.onnx', 'pipe.onnx', 'zero.onnx', '../text.onnx', 'index/../inside.onnx', 'other.txt', 'a\0.onnx', '']
    store.model.text = 'inside.onnx'
    assert text_encoder_file(store) == os.path.realpath('index/inside.onnx')
    for name in names:
        store.model.text = name
        with pytest.raises((ValueError, FileNotFoundError), match='--text'):
            text_encoder_file(store)
    store.model.text, store.folder = 'inside.onnx', 's3://bucket/index'
    with pytest.raises(InputError, match='inside.onnx'):
        text_encoder_file(store)
    store.folder = 'index'
    external = str(tmp_path / 'external.onnx')
    store.model.text, store.model.text_sha256 = external, digest(external)
    with pytest.raises(ValueError, match='external.onnx'):
        text_encoder_file(store)
    store.model.text, store.model.text_sha256 = text_encoder, digest(text_encoder)
    write_text_encoder(text_encoder, np.eye(DIMS)[2])
    with pytest.raises(ValueError, match='text.onnx'):
        text_encoder_file(store)
    os.unlink(text_encoder)
    with pytest.raises(FileNotFoundError, match='text.onnx'):
        text_encoder_file(store)
    store.model.text_sha256 = None
    with pytest.raises(ValueError, match='--text'):
        text_encoder_file(store)


def test_an_index_of_an_older_version_opens_and_asks_for_the_text_encoder(tool, model, capsys):
    text_encoder = write_text_encoder('text.onnx', np.eye(DIMS)[0])
    about = dict(
        format=1, model={k: v for k, v in asdict(model).items() if k != 'text_sha256'} | dict(text=text_encoder)
    )
    forge(model, rows=[{}], metadata={METADATA: json.dumps(about)})
    assert ImageStore.open('index').search(np.eye(DIMS)[0], 1)[0]['path'] == '/photo.jpg'
    with pytest.raises(SystemExit):
        tool('query', 'a bus', '--index', 'index')
    assert '--text' in capsys.readouterr().err
    tool('query', 'a bus', '--index', 'index', '--text', text_encoder)
    assert '/photo.jpg' in capsys.readouterr().out


def about(**changes):
    """Metadata of a table, with changes in its model."""
    model = dict(path='/encoder.onnx', sha256='0' * 64, dims=DIMS, text_space=None, text=None, text_sha256=None)
    return json.dumps(dict(format=1, model={**model, **changes}))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        'null',
        '[]',
        '{"format": 1}',
        '{"format": 1, "model": null}',
        '{"format": 1, "model": []}',
        '{"format": [[]], "model": {}}',
        '{"format": "\x1b[2J"}',
        '{"a":' * 100_000,
        '[' * 100_000,
        '{"format": 1, "model": ' + '[' * 100_000 + ']' * 100_000 + '}',
        '1' * 10_000,
        about(path=None),
        about(path=['x']),
        about(sha256='0'),
        about(sha256=None),
        about(dims=None),
        about(dims=str(DIMS)),
        about(dims=True),
        about(dims=-1),
        about(dims=2**70),
        about(dims=float('nan')),
        about(dims=DIMS + 1),
        about(text=3),
        about(text_space={}),
        about(text_sha256='z' * 64),
    ],
)
def test_malformed_metadata_are_refused_by_the_name_of_the_index(model, content):
    forge(model, 'strange', metadata={METADATA: content})
    for open_it in (lambda: ImageStore.open('strange'), lambda: ImageStore.create('strange', model)):
        with pytest.raises(ValueError, match='strange') as error:
            open_it()
        assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    'change',
    [
        lambda schema: schema.remove(schema.get_field_index('path')),
        lambda schema: schema.remove(schema.get_field_index('embedding')),
        lambda schema: schema.set(schema.get_field_index('path'), pa.field('path', pa.int64())),
        lambda schema: schema.set(schema.get_field_index('thumbnail'), pa.field('thumbnail', pa.string())),
        lambda schema: schema.set(schema.get_field_index('embedding'), pa.field('embedding', pa.list_(pa.float32()))),
        lambda schema: schema.remove_metadata(),
    ],
)
def test_other_columns_are_refused_by_the_name_of_the_index(model, change):
    forge(model, 'strange', change=change)
    with pytest.raises(ValueError, match='strange'):
        ImageStore.open('strange')


@pytest.mark.parametrize('column', ['path', 'sha256', 'embedding', 'thumbnail', 'width', 'size'])
def test_null_values_have_a_defined_result(tool, model, encoder, column):
    forge(model, rows=[{column: None}, dict(path='/other.jpg', sha256='1' * 64)])
    connection = lancedb.connect('index')
    nothing = dict(path=None, size=None, mtime_ns=None, sha256=None, reason=None)
    connection.create_table('skipped', pa.Table.from_pylist([nothing], schema=SKIPPED_SCHEMA))
    store = ImageStore.open('index')
    query = np.eye(DIMS)[0]
    if column == 'path':
        with pytest.raises(ValueError, match='index'):
            store.search(query, 5)
    else:
        assert '/other.jpg' in [row['path'] for row in store.search(query, 5)]
    assert None not in store.paths() and all(isinstance(row['reason'], str) for row in store.broken())
    problems = check_index(store, files=True)
    assert problems and all(isinstance(problem, str) for problem in problems)
    assert len(store.known(['/other.jpg'])) == 1
    report = update_index(write_images(Path('photos'), 2), store, encoder)
    assert report.added == 2


def test_embeddings_that_are_not_finite_are_not_found(model):
    forge(model, rows=[dict(embedding=[float('nan')] * DIMS), dict(embedding=[None] * DIMS, path='/other.jpg')])
    store = ImageStore.open('index')
    with pytest.raises(ValueError, match='index'):
        store.search(np.eye(DIMS)[0], 5)
    assert any('/photo.jpg' in problem and '/other.jpg' in problem for problem in check_index(store))


def test_names_in_an_index_do_not_reach_the_terminal_as_they_are(tool, model, capsys):
    bad = '/\x1b]0;title\x07\x1b[2J\u202egnp.exe\n.jpg'
    forge(replace(model, path=bad, text=bad, text_space=bad), rows=[dict(path=bad), dict(path=bad)])
    np.save('query.npy', np.eye(DIMS)[0])
    lancedb.connect('index').create_table(
        'skipped', pa.Table.from_pylist([dict(path=bad, reason=bad)], schema=SKIPPED_SCHEMA)
    )
    tool('query', '--embedding', 'query.npy', '--index', 'index')
    tool('info', '--index', 'index')
    for args in (['query', 'words'], ['query', '--image', 'photo.jpg'], ['verify', '--files'], ['add', '.']):
        with pytest.raises(SystemExit):
            tool(*args, '--index', 'index')
    told = ''.join(capsys.readouterr())
    assert 'gnp.exe' in told and not set('\x1b\x07\u202e') & set(told)
    encoder_file = write_encoder(Path('encoder.onnx').absolute())
    forge(replace(model, path=encoder_file, sha256=digest(encoder_file)), 'fill')
    lancedb.connect('fill').create_table(
        'skipped', pa.Table.from_pylist([dict(path=bad, reason=bad)], schema=SKIPPED_SCHEMA)
    )
    write_images(Path('photos'), 1)
    tool('add', 'photos', '--index', 'fill')
    listed = Path('fill/broken.tsv').read_text()
    assert len(listed.splitlines()) == 1 and not set('\x1b\x07\u202e') & set(listed)


def bomb():
    """A small PNG of 169 million pixels."""
    import io

    file = io.BytesIO()
    Image.new('1', (13_000, 13_000)).save(file, 'PNG')
    return file.getvalue()


EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n'


@pytest.mark.parametrize('kind', ['eps', 'bomb', 'text', 'cut', 'fifo', 'zero', 'absent', 'null character'])
def test_hostile_thumbnails_are_not_drawn(tool, model, kind, monkeypatch, capsys):
    Path('bin').mkdir()
    Path('bin/gs').write_text(f'#!/bin/sh\ntouch {Path("executed").absolute()}\n')
    Path('bin/gs').chmod(0o755)
    monkeypatch.setenv('PATH', f'{Path("bin").absolute()}:{os.environ["PATH"]}')
    os.mkfifo('fifo')
    Path('zero').symlink_to('/dev/zero')
    whole = Path(write_images(Path('photos'), 1)[0]).read_bytes()
    contents = dict(eps=EPS, text=b'text', cut=whole[:200])
    content = bomb() if kind == 'bomb' else contents.get(kind, b'')
    paths = {'null character': 'a\0b'}
    forge(model, rows=[dict(thumbnail=content, path=paths.get(kind) or str(Path(kind).absolute()))])
    np.save('query.npy', np.eye(DIMS)[0])
    with pytest.raises(SystemExit) as stop:
        tool('query', '--embedding', 'query.npy', '--index', 'index', '--picture', 'found.png')
    assert stop.value.code == 2 and not Path('executed').exists() and not Path('found.png').exists()
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize('kind', ['fifo', 'link'])
def test_special_files_and_links_inside_an_index_are_refused_before_they_are_opened(model, kind):
    forge(model, rows=[{}])
    (data,) = Path('index/images.lance/data').iterdir()
    data.rename('moved')
    os.mkfifo(data) if kind == 'fifo' else data.symlink_to(os.path.abspath('moved'))
    with pytest.raises(InputError, match=data.name):
        ImageStore.open('index')


def test_an_index_whose_data_lie_elsewhere_is_refused(model):
    forge(model, 'private', rows=[{}])
    connection = lancedb.connect('index')
    if not hasattr(connection, 'clone_table'):
        pytest.skip('this LanceDB has no shallow clones')
    connection.clone_table('images', os.path.abspath('private/images.lance'))
    assert ImageStore.open('private')
    with pytest.raises(InputError, match='manifest'):
        ImageStore.open('index')
