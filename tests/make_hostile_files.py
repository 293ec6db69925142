"""Write files that nobody should have to trust: what people may download, unpack or point at.

    python tests/make_hostile_files.py FOLDER

Nothing harmful is stored in the repository or written here. A payload makes the empty file ``EXECUTED`` in the current
folder, so that a test sees whether anything ran it. ``tests/test_doors.py`` hands the files to every reader.
"""

import io
import json
import math
import os
import pickle
import stat
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
from PIL import Image

from kdeov_mm.deploy.kinds import FORMATS

MARKER = 'EXECUTED'
CONFIG = f"open({MARKER!r}, 'w').close()\nmodel = dict(type='KDEOV')\n"  # runs if somebody takes it for a config
BOMB = (13_000, 13_000)  # 169 megapixels, of which the file has 30 KB
CLIP = 'kdeov-shapes'
MODEL = 'kdeov_yolov8n'  # a name of the model index


class Entry(NamedTuple):
    """One hostile file or folder.

    Attributes:
        kind: What it pretends to be.
        write: Writes it at a path.
        accepted: Whether readers take it, with a defined result, or else refuse it.
    """

    kind: str
    write: Callable[[Path], Any]
    accepted: bool = False


# ------------------------------------------------------------------------------------------------ special files
def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def make_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def make_large(path: Path) -> None:
    with open(path, 'wb') as file:
        os.truncate(file.fileno(), 2**40)  # sparse


def text(content: str | bytes) -> Callable[[Path], int]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def nothing(path: Path) -> None:
    """A file that is not there."""


SPECIAL = dict(fifo=os.mkfifo, zero=link_to('/dev/zero'), dangling=link_to('nowhere'), folder=os.mkdir)
SPECIAL.update(absent=nothing, empty=Path.touch)


# ------------------------------------------------------------------------------------------------ images
def make_image(size: tuple[int, int] = (48, 40), **options: Any) -> bytes:
    rng, file = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)).save(file, **options)
    return file.getvalue()


def make_eps(path: Path) -> None:
    Image.new('RGB', (8, 8)).save(path, 'EPS')


def make_bomb(path: Path) -> None:
    Image.new('1', BOMB).save(path, 'PNG')


def deep_tiff(kind: type) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(np.full((8, 8), 70_000, kind)).save(path, 'TIFF')


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size."""
    import zlib

    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))


IMAGES = {
    'good.jpg': Entry('image', text(make_image(format='JPEG')), True),
    'good.png': Entry('image', text(make_image(format='PNG')), True),
    'eps.jpg': Entry('image', make_eps),
    'bomb.png': Entry('image', make_bomb),
    'f.tif': Entry('image', deep_tiff(np.float32)),
    'i.tif': Entry('image', deep_tiff(np.int32)),
    'u.tif': Entry('image', deep_tiff(np.uint32)),
    'huge.jpg': Entry('image', make_large),
    'cut.jpg': Entry('image', text(make_image(format='JPEG')[:300])),
    'cut.png': Entry('image', text(make_image(format='PNG')[:300])),
    'text.jpg': Entry('image', text('no image')),
    'wide.png': Entry('image', text(png_of_size(2**31 - 1, 2**31 - 1))),
    'no_pixels.png': Entry('image', text(png_of_size(0, 0))),
    'pickle.png': Entry('image', lambda path: path.write_bytes(PICKLES['reduce'])),
    '\x1b[31m\u202egpj.jpg': Entry('image', text('no image')),
    os.fsdecode(b'\xff\xfe.jpg'): Entry('image', text('no image')),
    **{f'{name}.jpg': Entry('image', write) for name, write in SPECIAL.items()},
    'socket.jpg': Entry('image', make_socket),
}


# ------------------------------------------------------------------------------------------------ checkpoints
class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.reduced = function, args

    def __reduce__(self) -> tuple:
        return self.reduced


class WithState(dict):
    """Pickles as an object that is given a state."""

    def __reduce__(self) -> tuple:
        return WithState, (), dict(touched=Call(open, MARKER, 'w'))


PICKLES = {  # each makes the marker where it is unpickled without restriction
    'reduce': pickle.dumps(Call(open, MARKER, 'w')),
    'reduce_0': pickle.dumps(Call(open, MARKER, 'w'), 0),
    'eval': pickle.dumps(Call(eval, f'open({MARKER!r}, "w")')),
    'inst': f"(S'{MARKER}'\nS'w'\ni__builtin__\nopen\n.".encode(),
    'object': f"(c__builtin__\nopen\nS'{MARKER}'\nS'w'\no.".encode(),
    'global': f"cos\nmkdir\n(S'{MARKER}'\ntR.".encode(),
    'getattr': f"c__builtin__\ngetattr\n(cos\npath\nS'os'\ntR(S'mkdir'\nS'{MARKER}'\nt.".encode(),
    'state': pickle.dumps(WithState()),
    'persistent': b"S'x'\nQ.",
    'numpy': b'cnumpy.testing._private.utils\nrunstring\n(S\'open("EXECUTED", "w")\'\n}tR.',
    'torch': b"ctorch.hub\nload\n(S'.'\nS'x'\ntR.",
    'deep': b'(' * 100_000 + b'.',
    'memory': b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'x.',
}


def torch_zip(content: bytes) -> Callable[[Path], None]:
    """A file in torch's format with a pickle of one's own."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, 'w') as file:
            for name, data in (('data.pkl', content), ('byteorder', b'little'), ('version', b'3\n')):
                file.writestr(f'archive/{name}', data)

    return write


def save_weights(value: float = 0.0, damage: Callable[[bytes], bytes] = bytes, **fields: Any) -> Callable[[Path], int]:
    """Weights of a layer of one number, as training would save them."""

    def write(path: Path) -> int:
        import torch

        content, file = dict(state_dict=dict(weight=torch.full((1, 1), value), bias=torch.zeros(1))), io.BytesIO()
        torch.save({**content, 'meta': {}, 'message_hub': {}, 'optimizer': {}, **fields}, file)
        return path.write_bytes(damage(file.getvalue()))

    return write


def save_hostile(path: Path, kind: str) -> None:
    """Weights with a pickle that makes a file ``RAN`` beside them, in one of torch's formats."""
    import torch

    content = dict(state_dict=dict(weight=torch.zeros(1, 1), x=Call(Path.touch, path.parent.resolve() / 'RAN')))
    if kind == 'script':
        torch.jit.save(torch.jit.script(torch.nn.Identity()), str(path))
    elif kind == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == 'zip')


def safetensors(header: Any, data: bytes = b'\0' * 4, length: int | None = None) -> bytes:
    """A .safetensors file with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + data


def one_tensor(**changes: Any) -> dict:
    return dict(weight={**dict(dtype='F32', shape=[1, 1], data_offsets=[0, 4]), **changes})


GOOD_TENSORS = dict(one_tensor(), bias=dict(dtype='F32', shape=[1], data_offsets=[4, 8]))
SAFETENSORS = {
    'good': safetensors(GOOD_TENSORS, b'\0' * 8),
    'nan': safetensors(GOOD_TENSORS, struct.pack('<2f', math.nan, 0)),
    'cut': safetensors(GOOD_TENSORS, b'\0' * 5),
    'long_header': safetensors(b'{}', length=2**60),
    'no_header': b'\x08',
    'other_json': safetensors([1, 2]),
    'deep': safetensors(b'{"a":' * 100_000),
    'outside': safetensors(one_tensor(data_offsets=[0, 2**40])),
    'backwards': safetensors(one_tensor(data_offsets=[4, 0])),
    'large_shape': safetensors(one_tensor(shape=[2**40, 2**40])),
    'overlap': safetensors(dict(one_tensor(), bias=dict(dtype='F32', shape=[1], data_offsets=[0, 4]))),
    'pickle': PICKLES['reduce'],
}
CHECKPOINTS = {
    'good.pth': Entry('checkpoint', save_weights(), True),
    'nan.pth': Entry('checkpoint', save_weights(math.nan)),
    'cut.pth': Entry('checkpoint', save_weights(damage=lambda content: content[: len(content) // 2])),
    'call.pth': Entry('checkpoint', save_weights(x=Call(open, MARKER, 'w'))),
    'class.pth': Entry('checkpoint', save_weights(x=Entry)),
    'text.pth': Entry('checkpoint', text('no weights')),
    'plain.pth': Entry('checkpoint', text(pickle.dumps(dict(state_dict=dict(weight=[1.0]))))),
    **{f'{kind}_call.pth': Entry('checkpoint', lambda path, kind=kind: save_hostile(path, kind)) for kind in (
        'zip', 'legacy', 'pickle', 'script')},
    **{f'{name}.pkl.pth': Entry('checkpoint', text(content)) for name, content in PICKLES.items()},
    **{f'{name}.zip.pth': Entry('checkpoint', torch_zip(content)) for name, content in PICKLES.items()},
    **{f'{name}.safetensors': Entry('checkpoint', text(content), name == 'good') for name, content in (
        SAFETENSORS.items())},
    **{f'{name}.pth': Entry('checkpoint', write) for name, write in SPECIAL.items()},
    **{f'{name}.safetensors': Entry('checkpoint', SPECIAL[name]) for name in ('fifo', 'zero', 'empty', 'folder')},
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ exported models
def write_onnx(path: Path, kind: str = 'image_encoder', value: float = 0.5, **metadata: Any) -> None:
    """A file that answers the same to everything: embeddings of two numbers, or one box."""
    import onnx
    from onnx import TensorProto as Type
    from onnx import helper

    outputs = dict(embeddings=np.array([[value, 1.0]], np.float32))
    if kind == 'open_detector':
        boxes = np.array([[[1, 2, 20, 30]]], np.float32)
        outputs = dict(boxes=boxes, scores=np.array([[value]], np.float32), labels=np.zeros((1, 1), np.int64))
    image = [helper.make_tensor_value_info('images', Type.FLOAT, ['batch', 3, 32, 32])]
    inputs = dict(
        image_encoder=image,
        open_detector=[*image, helper.make_tensor_value_info('texts', Type.FLOAT, ['names', 2])],
        text_encoder=[helper.make_tensor_value_info('tokens', Type.INT64, ['batch', 16])],
    )[kind]
    source = inputs[0].name
    nodes = [
        helper.make_node('Shape', [source], ['batch'], start=0, end=1),  # one row for each of the batch
        *(helper.make_node('Concat', ['batch', f'{name}_rest'], [f'{name}_shape'], axis=0) for name in outputs),
        *(helper.make_node('Expand', [f'{name}_value', f'{name}_shape'], [name]) for name in outputs),
    ]
    constants = [onnx.numpy_helper.from_array(array, f'{name}_value') for name, array in outputs.items()]
    constants += [
        onnx.numpy_helper.from_array(np.array(array.shape[1:], np.int64), f'{name}_rest')
        for name, array in outputs.items()
    ]
    results = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), ['batch', *array.shape[1:]])
        for name, array in outputs.items()
    ]
    graph = helper.make_graph(nodes, kind, inputs, results, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    described = dict(kdeov_format=FORMATS.get(kind, '1'), kdeov_kind=kind, embed_dims='2', text_space='tiny')
    if kind == 'text_encoder':
        described.update(tokenizer=json.dumps(dict(merges='a b', context_length=16)), templates='["{}"]')
    else:
        described['preprocessing'] = json.dumps(dict(size=[32, 32], resize='stretch'))
    described.update(metadata)
    helper.set_model_props(model, {key: value for key, value in described.items() if value is not None})
    onnx.save(model, path)


def write_models(folder: Path) -> None:
    """A folder with the three files of a model."""
    folder.mkdir(exist_ok=True)
    for kind in ('image_encoder', 'open_detector', 'text_encoder'):
        write_onnx(folder / f'{kind}.onnx', kind)


def encoder(**metadata: Any) -> Callable[[Path], None]:
    return lambda path: write_onnx(path, **metadata)


def external(location: str) -> Callable[[Path], None]:
    """An encoder whose embedding is in another file."""

    def write(path: Path) -> None:
        import onnx

        write_onnx(path)
        model = onnx.load(path)
        tensor = model.graph.initializer[0]
        tensor.ClearField('raw_data')
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in dict(location=location, length='8').items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        path.write_bytes(model.SerializeToString())

    return write


def cut_onnx(path: Path) -> None:
    write_onnx(path)
    os.truncate(path, path.stat().st_size // 2)


def python_folder(path: Path) -> None:
    """A folder that looks like a work dir."""
    path.mkdir()
    (path / 'config.py').write_text(CONFIG)
    (path / 'epoch_1.pth').touch()


DEEP = '[' * 100_000
ONNX = {
    'good.onnx': Entry('onnx', write_onnx, True),
    'nan.onnx': Entry('onnx', encoder(value=math.nan)),
    'cut.onnx': Entry('onnx', cut_onnx),
    'text.onnx': Entry('onnx', text('no model')),
    'python.onnx': Entry('onnx', text(CONFIG)),
    'work_dir.onnx': Entry('onnx', python_folder),
    'outside.onnx': Entry('onnx', external('../good.jpg')),
    'absolute.onnx': Entry('onnx', external('/etc/hostname')),
    'zero_data.onnx': Entry('onnx', external('zero.onnx')),
    'foreign.onnx': Entry('onnx', encoder(kdeov_format=None)),
    'format.onnx': Entry('onnx', encoder(kdeov_format='2', versions=DEEP)),
    'kind.onnx': Entry('onnx', encoder(kdeov_kind='program')),
    'dims.onnx': Entry('onnx', encoder(embed_dims='9' * 5000)),
    'no_metadata.onnx': Entry('onnx', encoder(preprocessing=None)),
    'null.onnx': Entry('onnx', encoder(preprocessing='null')),
    'deep.onnx': Entry('onnx', encoder(preprocessing=DEEP)),
    'size.onnx': Entry('onnx', encoder(preprocessing='{"size": [1073741824, 32], "resize": "stretch"}')),
    'not_finite.onnx': Entry('onnx', encoder(preprocessing='{"size": [NaN, 32], "resize": "stretch"}')),
    **{f'{name}.onnx': Entry('onnx', write) for name, write in SPECIAL.items()},
}


# ------------------------------------------------------------------------------------------------ indexes
def metadata_of_index(**changes: Any) -> str:
    model = dict(path='/encoder.onnx', sha256='0' * 64, dims=2, text_space=None, text=None, text_sha256=None)
    return json.dumps(dict(format=1, model={**model, **changes}))


def index(metadata: str | None = None, **changes: Any) -> Callable[[Path], None]:
    """An index of one image as somebody with LanceDB would make it."""

    def write(path: Path) -> None:
        import lancedb
        import pyarrow as pa

        vector = pa.list_(pa.float32(), 2)
        schema = dict(path=pa.string(), size=pa.int64(), mtime_ns=pa.int64(), sha256=pa.string(), width=pa.int32())
        schema.update(height=pa.int32(), thumbnail=pa.binary(), embedding=vector)
        described = {b'kdeov_mm': metadata_of_index(**changes) if metadata is None else metadata}
        row = dict(path='/photo.jpg', size=1, mtime_ns=1, sha256='0' * 64, width=1, height=1, thumbnail=b'')
        rows = pa.Table.from_pylist([dict(row, embedding=[1.0, 0.0])], pa.schema(schema).with_metadata(described))
        lancedb.connect(path).create_table('images', rows)

    return write


def named(file: str) -> Callable[[Path], None]:
    """An index that names a file beside it as its two encoders."""

    def write(path: Path) -> None:
        import hashlib

        target = path.parent / f'{path.name}.{file}'
        python_folder(target) if file == 'folder' else target.write_text(CONFIG)
        digest = '0' * 64 if target.is_dir() else hashlib.sha256(target.read_bytes()).hexdigest()
        where = str(target.absolute())
        index(path=where, sha256=digest, text=where, text_sha256=digest)(path)

    return write


def damaged_index(path: Path) -> None:
    index()(path)
    for file in path.rglob('*'):
        if file.is_file():
            file.write_bytes(b'damaged')


INDEXES = {
    'config.index': Entry('index', named('py')),
    'onnx.index': Entry('index', named('onnx')),
    'folder.index': Entry('index', named('folder')),
    'null.index': Entry('index', index('null')),
    'deep.index': Entry('index', index('{"a":' * 100_000)),
    'no_metadata.index': Entry('index', index('')),
    'nan.index': Entry('index', index(dims=math.nan)),
    'dims.index': Entry('index', index(dims=2**70)),
    'damaged.index': Entry('index', damaged_index),
    'file.index': Entry('index', text('no index')),
    'folder_of_nothing.index': Entry('index', os.mkdir),
    **{f'{name}.index': Entry('index', SPECIAL[name]) for name in ('fifo', 'zero', 'absent')},
}


# ------------------------------------------------------------------------------------------------ names, annotations
NAMES = {
    'good.txt': Entry('names', text('dog\ncat\n'), True),
    'escape.txt': Entry('names', text('\x1b[31mdog\u202e\ncat\n'), True),  # shown as escapes
    'bytes.txt': Entry('names', text(b'\xff\xfed\0o\0g\0')),
    'twice.txt': Entry('names', text('dog\ndog\n')),
    'large.txt': Entry('names', make_large),
    'good.json': Entry('names', text('["dog", "cat"]'), True),
    'null.json': Entry('names', text('[null]')),
    'object.json': Entry('names', text('{"dog": 1}')),
    'number.json': Entry('names', text('[1, 2]')),
    'deep.json': Entry('names', text(DEEP)),
    'nan.json': Entry('names', text('["dog", NaN]')),
    'surrogate.json': Entry('names', text('["\\ud800"]')),
    **{f'{name}.txt': Entry('names', write) for name, write in SPECIAL.items()},
    **{f'{name}.json': Entry('names', SPECIAL[name]) for name in ('fifo', 'zero', 'empty')},
}


def outside(path: Path) -> str:
    """An image that is there, but not in the image folder."""
    return str(path.absolute().parents[1] / 'outside.jpg')


def annotations(**changes: Any) -> Callable[[Path], int]:
    """An annotation file of one image, ``good.jpg``, with boxes, captions and LVIS's fields.

    Args:
        changes: Fields of the image (``image_...``), the annotation (``ann_...``) and the category (``cat_...``), or
            whole lists.
    """
    image = dict(id=1, file_name='good.jpg', width=48, height=40, neg_category_ids=[], not_exhaustive_category_ids=[])
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 20, 20], area=400, iscrowd=0, caption='a dog')
    category = dict(id=1, name='dog', frequency='f')
    for name, value in changes.items():
        part, _, field = name.partition('_')
        if field:
            dict(image=image, ann=annotation, cat=category)[part][field] = value
    content = dict(images=[image], annotations=[annotation], categories=[category])
    return text(json.dumps({**content, **{key: value for key, value in changes.items() if key in content}}))


ANNOTATIONS = {
    'good.coco': Entry('annotations', annotations(), True),
    'extra.coco': Entry('annotations', annotations(image_extra=[[[None]]]), True),
    'null_image.coco': Entry('annotations', annotations(images=[None])),
    'null_annotation.coco': Entry('annotations', annotations(annotations=[None])),
    'null_images.coco': Entry('annotations', annotations(images=None)),
    'id.coco': Entry('annotations', annotations(image_id=[1])),
    'float_id.coco': Entry('annotations', annotations(image_id=1.0)),
    'nan_id.coco': Entry('annotations', annotations(ann_image_id=math.nan)),
    'other_id.coco': Entry('annotations', annotations(ann_image_id='1')),
    'path.coco': Entry('annotations', lambda path: annotations(image_file_name=outside(path))(path)),
    'up.coco': Entry('annotations', annotations(image_file_name='../outside.jpg')),
    'null_path.coco': Entry('annotations', annotations(image_file_name='a\0.jpg')),
    'number_path.coco': Entry('annotations', annotations(image_file_name=5)),
    'fifo_image.coco': Entry('annotations', annotations(image_file_name='fifo.jpg')),
    'zero_image.coco': Entry('annotations', annotations(image_file_name='zero.jpg')),
    'text.coco': Entry('annotations', text('no JSON')),
    'deep.coco': Entry('annotations', text(DEEP)),
    'list.coco': Entry('annotations', text('[]')),
    'nan.coco': Entry('annotations', text('{"images": [NaN]}')),
    **{f'{name}.coco': Entry('annotations', write) for name, write in SPECIAL.items()},
    'nan_box.boxes': Entry('boxes', annotations(ann_bbox=[1, 2, math.nan, 4])),
    'infinite_box.boxes': Entry('boxes', annotations(ann_bbox=[1, 2, math.inf, 4])),
    'text_box.boxes': Entry('boxes', annotations(ann_bbox=['1', 2, 3, 4])),
    'short_box.boxes': Entry('boxes', annotations(ann_bbox=[1, 2])),
    'null_area.boxes': Entry('boxes', annotations(ann_area=None)),
    'width.boxes': Entry('boxes', annotations(image_width=0)),
    'category.boxes': Entry('boxes', annotations(ann_category_id=7)),
    'name.boxes': Entry('boxes', annotations(cat_name=None)),
    'null.captions': Entry('captions', annotations(ann_caption=None)),
    'number.captions': Entry('captions', annotations(ann_caption=5)),
    'surrogate.captions': Entry('captions', annotations(ann_caption='\ud800')),
    'good.csv': Entry('table', text('filepath,title\ngood.jpg,a dog\n'), True),
    'path.csv': Entry('table', lambda path: path.write_text(f'filepath,title\n{outside(path)},a dog\n')),
    'up.csv': Entry('table', text('filepath,title\n../outside.jpg,a dog\n')),
    'quote.csv': Entry('table', text('filepath,title\n"good.jpg,a dog\n')),
    'bytes.csv': Entry('table', text(b'filepath,title\ngood.jpg,\xff\n')),
    'short.csv': Entry('table', text('filepath,title\ngood.jpg\n')),
    'large.csv': Entry('table', make_large),
    **{f'{name}.csv': Entry('table', write) for name, write in SPECIAL.items()},
}


# ------------------------------------------------------------------------------------------------ arrays, stores
def array(content: np.ndarray, write: Callable = np.save) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with open(path, 'wb') as file:
            write(file, content, allow_pickle=True) if write is np.save else write(file, content)

    return save


def header(shape: tuple[int, ...], kind: str = '<f4', rest: bytes = b'') -> bytes:
    """An array's file whose header claims a shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, dict(descr=kind, fortran_order=False, shape=shape))
    return file.getvalue() + rest


ROWS = np.eye(2, dtype=np.float32)
ARRAYS = {
    'good.npy': Entry('embeddings', array(ROWS), True),
    'nan.npy': Entry('embeddings', array(ROWS * np.float32(math.nan))),
    'zero_row.npy': Entry('embeddings', array(ROWS * 0)),
    'large.npy': Entry('embeddings', array(np.full((2, 2), 3e38, np.float32))),
    'objects.npy': Entry('embeddings', array(np.array([Call(open, MARKER, 'w')], dtype=object))),
    'header_of_objects.npy': Entry('embeddings', text(header((1,), '|O', PICKLES['reduce']))),
    'archive.npy': Entry('embeddings', array(ROWS, np.savez)),
    'archive_of_objects.npy': Entry('embeddings', array(np.array([Call(open, MARKER, 'w')], dtype=object), np.savez)),
    'huge.npy': Entry('embeddings', text(header((2 * 10**9, 2)))),
    'overflow.npy': Entry('embeddings', text(header((2**62, 2**62)))),
    'no_columns.npy': Entry('embeddings', text(header((2**62, 0)))),
    'negative.npy': Entry('embeddings', text(header((-1, 2), rest=bytes(16)))),
    'call.npy': Entry('embeddings', text(b'\x93NUMPY\x01\x00\x20\x00' + b'open("EXECUTED", "w")'.ljust(31) + b'\n')),
    'pickle.npy': Entry('embeddings', text(PICKLES['reduce'])),
    'text.npy': Entry('embeddings', text('no array')),
    **{f'{name}.npy': Entry('embeddings', write) for name, write in SPECIAL.items()},
    **{f'embeddings_{name}.safetensors': Entry('embeddings', text(content)) for name, content in SAFETENSORS.items()},
    'embeddings_fifo.safetensors': Entry('embeddings', os.mkfifo),
}


def store(file: str | None = None, content: str | bytes = '', change: Callable[[Path], Any] | None = None) -> Callable:
    """A teacher store of two rows, one of whose files is replaced."""

    def write(path: Path) -> None:
        import torch

        from kdeov_mm.datasets import TeacherStoreWriter

        columns = dict(image=torch.arange(2), box=torch.ones(2, 4), label=torch.zeros(2, dtype=torch.int64))
        with TeacherStoreWriter(path, dict(teacher='x', views=0), 1) as writer:
            writer.write(0, dict(columns, embedding=torch.ones(2, 8).half()))
            writer.finish()
        if change:
            (path / file).unlink()
            change(path / file)
        elif file:
            text(content)(path / file)

    return write


SHARD = 'shard-00000.safetensors'
STORES = {
    'good.store': Entry('store', store(), True),
    'null.store': Entry('store', store('index.json', 'null')),
    'null_shard.store': Entry('store', store('index.json', '{"shards": [null]}')),
    'deep.store': Entry('store', store('index.json', DEEP)),
    'outside.store': Entry('store', store('index.json', '{"shards": [{"file": "../x", "sha256": "0"}]}')),
    'no_shards.store': Entry('store', store('index.json', '{"shards": []}')),
    'identity.store': Entry('store', store('identity.json', '[]')),
    'pickle.store': Entry('store', store(SHARD, PICKLES['reduce'])),
    'cut.store': Entry('store', store(SHARD, SAFETENSORS['cut'])),
    'fifo_index.store': Entry('store', store('index.json', change=os.mkfifo)),
    'fifo_shard.store': Entry('store', store(SHARD, change=os.mkfifo)),
    'zero_index.store': Entry('store', store('index.json', change=link_to('/dev/zero'))),
    'zero_identity.store': Entry('store', store('identity.json', change=link_to('/dev/zero'))),
    **{f'{name}.store': Entry('store', write) for name, write in SPECIAL.items()},
}


# ------------------------------------------------------------------------------------------------ the rest
def write_world(content: str) -> Callable[[Path], int]:
    def write(path: Path) -> int:
        path.mkdir()
        return (path / 'world.json').write_text(content)

    return write


REST = {
    MODEL: Entry('shadow', python_folder, True),  # the model of this name is used, the folder is not
    'plain_name': Entry('shadow', python_folder),
    'archive': Entry('shadow', python_folder),
    'article.templates': Entry('templates', text('a photo of {article} {}\n'), True),
    'attribute.templates': Entry('templates', text('{0.__class__} {}\n')),
    'width.templates': Entry('templates', text('{:>999999999}\n')),
    'long.templates': Entry('templates', text('{}' + 'x' * 3000)),
    'fifo.templates': Entry('templates', os.mkfifo),
    'zero.templates': Entry('templates', link_to('/dev/zero')),
    'null.world': Entry('world', write_world('null')),
    'list.world': Entry('world', write_world('[]')),
    'deep.world': Entry('world', write_world(DEEP)),
    'nan.world': Entry('world', write_world('{"version": NaN}')),
    'escape.world': Entry('world', write_world('{"version": "\\u001b[31m"}')),
    'none.costs': Entry('costs', nothing, True),
    'list.costs': Entry('costs', text('[]')),
    'null.costs': Entry('costs', text('{"key": "x", "costs": {"a": null}}')),
    'deep.costs': Entry('costs', text(DEEP)),
    'fifo.costs': Entry('costs', os.mkfifo, True),  # no file, so nothing was timed
}
CORPUS: dict[str, Entry] = {**IMAGES, **CHECKPOINTS, **ONNX, **INDEXES, **NAMES, **ANNOTATIONS, **ARRAYS}
CORPUS.update(**STORES, **REST)


def path_of(folder: Path, name: str) -> Path:
    """Where an entry is written: those of a kind are together."""
    return folder / f'{CORPUS[name].kind}s' / name


def write_corpus(folder: Path, *kinds: str) -> None:
    """Write all entries, or those of some kinds; what this system cannot make is left out.

    Raises:
        OSError, ImportError: If an entry cannot be made.
    """
    for name, entry in CORPUS.items():
        if not kinds or entry.kind in kinds:
            path = path_of(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            entry.write(path)
    if not kinds or 'image' in kinds:
        (folder / 'images' / 'loop').symlink_to('.')
        (folder / 'outside.jpg').write_bytes(make_image(format='JPEG'))


def main() -> None:
    folder = Path(sys.argv[1])
    write_corpus(folder)
    for name, entry in CORPUS.items():
        print(f'{entry.kind:12} {"accepted" if entry.accepted else "refused":9} {ascii(name)}')


if __name__ == '__main__':
    main()
