"""ONNX files from others: what they compute is in the file, ends, and has the shape that it must have."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdeov_mm.deploy import Runtime
from kdeov_mm.deploy.kinds import FORMATS
from kdeov_mm.deploy.onnx_file import read_onnx
from kdeov_mm.utils import InputError

IMAGES = helper.make_tensor_value_info('images', TensorProto.FLOAT, ['n', 3, 32, 32])
PIXELS = [np.zeros((40, 40, 3), np.uint8)] * 3


def write(path, nodes, constants, outputs=('y',), kind='image_encoder', **metadata):
    """A file with this project's metadata around a graph of one's own."""
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ends = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)), None)
        for name in outputs
    ]
    if kind == 'detector':
        ends[2] = helper.make_tensor_value_info(outputs[2], TensorProto.INT64, None)
    graph = helper.make_graph(nodes, 'graph', [IMAGES], ends, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    preprocessing = json.dumps(dict(size=[32, 32], resize='stretch'))
    helper.set_model_props(
        model,
        dict(kdeov_format=FORMATS[kind], kdeov_kind=kind, embed_dims='4', preprocessing=preprocessing, **metadata),
    )
    onnx.save(model, path)
    return str(path)


def constants_as(names):
    return [helper.make_node('Identity', [f'{name}_value'], [name]) for name in names]


@pytest.mark.parametrize('shape', [(1, 4), (9, 4), (3, 5), (3, 4, 1)])
def test_embeddings_of_another_shape_are_refused(tmp_path, shape):
    path = write(tmp_path / 'encoder.onnx', constants_as('y'), dict(y_value=np.full(shape, 0.5, np.float32)))
    with pytest.raises(InputError, match='encoder.onnx'):
        Runtime(path).encode_image(PIXELS)


@pytest.mark.parametrize(
    'images, label, works', [(3, 1, True), (1, 1, False), (4, 1, False), (3, 2, False), (3, 10**9, False)]
)
def test_detections_of_another_number_or_label_are_refused(tmp_path, images, label, works):
    outputs = dict(
        boxes_value=np.tile(np.float32([1, 2, 3, 4]), (images, 2, 1)),
        scores_value=np.full((images, 2), 0.9, np.float32),
        labels_value=np.full((images, 2), label),
    )
    names = ['boxes', 'scores', 'labels']
    path = write(
        tmp_path / 'detector.onnx', constants_as(names), outputs, names, 'detector', names=json.dumps(['cat', 'dog'])
    )
    if works:
        assert [found.names for found in Runtime(path).detect(PIXELS)] == [['dog', 'dog']] * 3
    else:
        with pytest.raises(InputError, match='detector.onnx'):
            Runtime(path).detect(PIXELS)


def test_loops_are_refused_before_they_run(tmp_path):
    body = helper.make_graph(
        [helper.make_node('Identity', ['c'], ['co']), helper.make_node('Identity', ['v'], ['vo'])],
        'body',
        [
            helper.make_tensor_value_info('i', TensorProto.INT64, []),
            helper.make_tensor_value_info('c', TensorProto.BOOL, []),
            helper.make_tensor_value_info('v', TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info('co', TensorProto.BOOL, []),
            helper.make_tensor_value_info('vo', TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node('Loop', ['count', 'true', 'images'], ['z'], body=body),
        helper.make_node('ReduceMean', ['z'], ['y'], axes=[2, 3], keepdims=0),
    ]
    path = write(tmp_path / 'loop.onnx', nodes, dict(count=np.int64(2**62), true=np.bool_(True)))
    for read in (read_onnx, Runtime):
        with pytest.raises(InputError, match='loop.onnx'):
            read(path)


def varint(number):
    """Protobuf's integer of variable length."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes(found) + bytes([number])


@pytest.mark.parametrize('beyond', [0, 1 << 32])
def test_tensors_in_other_files_are_seen_though_their_tags_are_too_long(tmp_path, beyond):
    """A tag beyond 32 bits, whose upper bits protobuf's own readers drop."""
    (tmp_path / 'secret.bin').write_bytes(bytes(16))

    def part(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    entry = part(1, b'location') + part(2, b'secret.bin')
    tensor = b'\x08\x04\x10\x01' + part(8, b'w') + varint((13 << 3 | 2) + beyond) + varint(len(entry)) + entry
    tensor += varint((14 << 3) + beyond) + b'\x01'
    model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid('', 17)])
    graph = helper.make_graph([helper.make_node('Add', ['images', 'w'], ['y'])], 'graph', [IMAGES], [])
    content = model.SerializeToString() + part(7, graph.SerializeToString() + part(5, tensor))
    (tmp_path / 'external.onnx').write_bytes(content)
    with pytest.raises(InputError, match='external.onnx'):
        read_onnx(tmp_path / 'external.onnx')


def test_the_runtimes_own_format_and_functions_are_refused(tmp_path):
    (tmp_path / 'own.onnx').write_bytes(b'\x0a\x02abORTM' + bytes(100))
    with pytest.raises(InputError, match='own.onnx'):
        read_onnx(tmp_path / 'own.onnx')
    function = helper.make_function(
        'own', 'twice', ['x'], ['y'], [helper.make_node('Add', ['x', 'x'], ['y'])], [helper.make_opsetid('', 17)]
    )
    graph = helper.make_graph([helper.make_node('twice', ['images'], ['y'], domain='own')], 'graph', [IMAGES], [])
    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('own', 1)]
    onnx.save(helper.make_model(graph, functions=[function], opset_imports=opsets), tmp_path / 'functions.onnx')
    with pytest.raises(InputError, match='functions.onnx'):
        read_onnx(tmp_path / 'functions.onnx')
