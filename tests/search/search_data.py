"""A tiny image encoder as ``kdeov export`` would write it, and folders of small images."""

import json

import numpy as np
import pytest
from PIL import Image

SIDE, CELL = 32, 8  # the encoder's input, and what it averages over
DIMS = 3 * (SIDE // CELL) ** 2


def write_encoder(path, space='tiny', bias=-0.4, background=0.9):
    """An ONNX file whose embedding is the normalised means of the image's cells; only a background competes."""
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node('AveragePool', ['images'], ['cells'], kernel_shape=[CELL, CELL], strides=[CELL, CELL]),
        helper.make_node('Flatten', ['cells'], ['flat']),
        helper.make_node('Add', ['flat', 'bias'], ['shifted']),
        helper.make_node('LpNormalization', ['shifted'], ['embeddings'], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, ['batch', 3, SIDE, SIDE])],
        [helper.make_tensor_value_info('embeddings', TensorProto.FLOAT, ['batch', DIMS])],
        [helper.make_tensor('bias', TensorProto.FLOAT, [1], [bias])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    preprocessing = dict(size=[SIDE, SIDE], resize='letterbox', pad_value=114)
    helper.set_model_props(
        model,
        dict(
            kdeov_format='1',
            kdeov_kind='image_encoder',
            embed_dims=str(DIMS),
            text_space=space,
            preprocessing=json.dumps(preprocessing),
            competitors=json.dumps(dict(entries=[], hierarchy=True, background=background, embeddings='')),
        ),
    )
    onnx.save(model, path)
    return str(path)


def write_images(folder, number, seed=0, side=(48, 40)):
    """Distinct JPEG files; their paths."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(number):
        cells = rng.integers(0, 256, (4, 5, 3), np.uint8)
        paths.append(str(folder / f'{index:05}.jpg'))
        Image.fromarray(cells).resize(side, Image.Resampling.NEAREST).save(paths[-1], quality=95)
    return paths


def write_text_encoder(path, embedding, space='tiny'):
    """An ONNX file that embeds every text alike."""
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper

    embedding = np.asarray(embedding, np.float32)
    nodes = [
        helper.make_node('Cast', ['tokens'], ['floats'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMax', ['floats'], ['largest'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['largest', 'zero'], ['zeros']),
        helper.make_node('Add', ['zeros', 'embedding'], ['embeddings']),
    ]
    graph = helper.make_graph(
        nodes,
        'text',
        [helper.make_tensor_value_info('tokens', TensorProto.INT64, ['batch', 16])],
        [helper.make_tensor_value_info('embeddings', TensorProto.FLOAT, ['batch', len(embedding)])],
        [
            helper.make_tensor('zero', TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor('embedding', TensorProto.FLOAT, [1, len(embedding)], embedding.tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    helper.set_model_props(
        model,
        dict(
            kdeov_format='1',
            kdeov_kind='text_encoder',
            embed_dims=str(len(embedding)),
            text_space=space,
            tokenizer=json.dumps(dict(merges='a b', context_length=16)),
            templates=json.dumps(['{}']),
        ),
    )
    onnx.save(model, path)
    return str(path)


def write_external(path, location):
    """A copy of the tiny encoder whose bias is in another file."""
    onnx = pytest.importorskip('onnx')
    write_encoder(path)
    model = onnx.load(path)
    (bias,) = model.graph.initializer
    bias.ClearField('float_data')
    bias.data_location = onnx.TensorProto.EXTERNAL
    entry = bias.external_data.add()
    entry.key, entry.value = 'location', str(location)
    path.write_bytes(model.SerializeToString())
    return str(path)
