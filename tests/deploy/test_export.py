"""Exported files give what PyTorch gives, and say what they are."""

import json

import numpy as np
import onnx
import onnxruntime
import open_clip
import pytest
import torch
import torch.nn.functional as F

from kdeov_mm.benchmarks.agreement import cosines, unexplained, unmatched, without_partner
from kdeov_mm.deploy import Runtime, export, read_image
from kdeov_mm.deploy.graphs import vocabulary_inputs
from kdeov_mm.models.clip import ClassEmbeddings, OpenCLIPTextEncoder, PrecomputedTextEncoder
from kdeov_mm.utils import load_config


def open_file(path):
    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


@pytest.fixture(scope='module', params=['random', pytest.param('demo', marks=pytest.mark.slow)])
def model(request):
    return request.getfixturevalue('student' if request.param == 'random' else 'demo_student')


@pytest.fixture(scope='module')
def files(model, student, exported, export_all, tmp_path_factory):
    """The three kinds of files of a model: ``{kind: path}``."""
    return exported if model is student else export_all(model, tmp_path_factory.mktemp('demo'))


def run_detector(path, images, **feeds):
    session = open_file(path)
    results = session.run(['boxes', 'scores', 'labels'], dict(images=images.numpy(), **feeds))
    return [dict(boxes=b[l >= 0], scores=s[l >= 0], labels=l[l >= 0]) for b, s, l in zip(*results)]


def test_embeddings_of_real_images(files, model, real_images):
    session = open_file(files['image_encoder'])
    with torch.no_grad():
        expected = model.encode_image(real_images).numpy()
    found = np.concatenate(
        [session.run(None, dict(images=real_images[i : i + 30].numpy()))[0] for i in range(0, 100, 30)]
    )
    assert cosines(found, expected).min() >= 0.9999
    assert (cosines(expected, np.roll(expected, 1, axis=0)) < 0.9999).any()  # that images are told apart at all


@pytest.mark.parametrize('size', [(32, 32), (96, 224)])
def test_any_size(files, model, predict, size):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    found = open_file(files['image_encoder']).run(None, dict(images=images.numpy()))[0]
    with torch.no_grad():
        assert cosines(found, model.encode_image(images).numpy()).min() >= 0.9999
    for a, b in zip(run_detector(files['detector'], images), predict(model, images)):
        assert unmatched(a, b) == 0


def check_but_for_ties(found, expected, limits, max_score=0.05):
    """One to one, but for few detections that ties explain; their scores are below ``max_score``."""
    missing = 0
    for one, other in zip(found, expected):
        assert unexplained(one, other, limits.nms.iou_threshold, limits.max_per_img, limits.score_thr) == 0
        for first, second in ((one, other), (other, one)):
            assert (first['scores'][without_partner(first, second)[0]] < max_score).all()
        missing += unmatched(one, other)
    assert missing <= 0.002 * sum(len(other['scores']) for other in expected)


def test_detections_in_real_images(files, model, student, real_images, predict):
    expected = [found for start in range(0, 100, 20) for found in predict(model, real_images[start : start + 20])]
    assert sum(len(found['scores']) for found in expected) > 100
    for found in (
        run_detector(files['detector'], real_images),
        run_detector(files['open_detector'], real_images, **vocabulary_inputs(model)),
    ):
        # Many scores are low and near each other. The random student has high ones, too, at the limit of suppression.
        check_but_for_ties(found, expected, model.bbox_head.test_cfg, 1.0 if model is student else 0.05)


@pytest.mark.slow
def test_the_demos_detections_differ_in_ties_only(demo_student, demo_world, predict, tmp_path):
    """Scores that differ by rounding change places at suppression and at the end of a full list, and nowhere else."""
    folder = demo_world('test') / 'test'
    preprocessing = json.dumps(dict(size=[128, 128], resize='stretch'))
    metadata = dict(kdeov_format='1', embed_dims='128', preprocessing=preprocessing)
    path = export.export_detector(demo_student, tmp_path / 'detector.onnx', metadata)
    runtime, limits = Runtime(path), demo_student.bbox_head.test_cfg
    images = torch.from_numpy(
        np.stack([runtime.preprocess(read_image(file)) for file in sorted(folder.glob('*.jpg'))[:100]])
    )
    expected = predict(demo_student, images)
    assert sum(len(found['scores']) for found in expected) > 5000
    check_but_for_ties(run_detector(path, images), expected, limits)


def test_the_vocabulary_is_an_input(files, model, real_images, predict):
    texts = F.normalize(torch.randn(3, 128, generator=torch.Generator().manual_seed(5)), dim=1)
    before = ClassEmbeddings(model.vocabulary, model.class_embeddings)
    model.set_vocabulary(ClassEmbeddings(['x', 'dog', 'z'], texts))
    try:
        expected = predict(model, real_images[:5])
        inputs = vocabulary_inputs(model)
    finally:
        model.set_vocabulary(before)
    found = run_detector(files['open_detector'], real_images[:5], **inputs)
    assert sum(map(unmatched, found, expected)) == 0


def test_openvino_reads_them(files, model, real_images, predict):
    openvino = pytest.importorskip('openvino')
    images = real_images[:10]
    encoder, detector = (
        openvino.compile_model(str(files[kind]), 'CPU', dict(INFERENCE_PRECISION_HINT='f32'))
        for kind in ('image_encoder', 'detector')
    )
    with torch.no_grad():
        assert cosines(encoder(images.numpy())[0], model.encode_image(images).numpy()).min() >= 0.9999
    results = detector(images.numpy())
    found = [
        dict(boxes=b[l >= 0], scores=s[l >= 0], labels=l[l >= 0])
        for b, s, l in zip(*(results[name] for name in ('boxes', 'scores', 'labels')))
    ]
    assert sum(map(unmatched, found, predict(model, images))) == 0


def test_files_say_what_they_are_and_nothing_of_this_machine(files):
    data = {name: {p.key: p.value for p in onnx.load(path).metadata_props} for name, path in files.items()}
    assert all(data[kind]['kdeov_kind'] == kind for kind in data)
    assert 'names' not in data['open_detector'] and len(json.loads(data['detector']['names'])) >= 7
    for path in files.values():
        onnx.checker.check_model(str(path))
        content = path.read_bytes()
        assert b'stack_trace' not in content and str(export.__file__).encode() not in content


def test_metadata_of_a_config(tmp_path):
    checkpoint = tmp_path / 'a.pth'
    checkpoint.write_bytes(b'abc')
    cfg = load_config('configs/kdeov_yolov8n.py')
    data = export.describe(cfg, str(checkpoint))
    assert data['licence'] == 'GPL-3.0-only' and data['embed_dims'] == '128'
    assert data['checkpoint_sha256'] == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    assert data['text_space'].startswith('kdeov-shapes:')
    assert json.loads(data['versions'])['torch'] == torch.__version__.split('+')[0]
    assert json.loads(data['preprocessing']) == dict(size=[128, 128], resize='stretch', channels='RGB', range=[0, 1])
    ready = export.describe(load_config('configs/kdeov_yolov8n_ov-coco_text-only.py'), str(checkpoint))
    assert 'text_space' not in ready and ready['embed_dims'] == '512', 'the file of embeddings is not needed'
    coco = export.preprocessing(load_config('configs/kdeov_yolov8n_ov-coco.py'), 320)
    assert coco == dict(size=[320, 320], resize='letterbox', pad_value=114, channels='RGB', range=[0, 1])
    for size in (100, 8192):
        with pytest.raises(ValueError, match=f'image size.*{size}'):
            export.preprocessing(cfg, size)
    cfg.model.data_preprocessor.mean = [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match='data_preprocessor'):
        export.preprocessing(cfg)
    cfg = load_config('configs/kdeov_yolov8n.py')
    cfg.test_dataloader[0].dataset.pipeline = [dict(type='LoadImageFromFile')]
    with pytest.raises(ValueError, match='LoadImageFromFile'):
        export.preprocessing(cfg)


def test_the_text_encoder(tiny_teacher, tmp_path):
    encoder = OpenCLIPTextEncoder('kdeov-shapes', tiny_teacher)
    path = export.export_text_encoder(encoder, ['a photo of a {}.'], tmp_path / 'text.onnx', {})
    texts = ['a red bus at night', 'dog', 'x' * 300]
    model = open_clip.create_model('kdeov-shapes', pretrained=tiny_teacher).eval()
    tokens = open_clip.get_tokenizer('kdeov-shapes')(texts)
    with torch.no_grad():
        expected = F.normalize(model.encode_text(tokens), dim=-1).numpy()
    session = open_file(path)
    np.testing.assert_allclose(session.run(None, dict(tokens=tokens.numpy()))[0], expected, atol=1e-5)
    described = json.loads(session.get_modelmeta().custom_metadata_map['tokenizer'])
    assert described['context_length'] == 48 and described['merges'].startswith('i n\nt h\n')
    np.save(tmp_path / 'e.npy', np.eye(2, 128))
    ready = PrecomputedTextEncoder(str(tmp_path / 'e.npy'), ['a', 'b'])
    with pytest.raises(ValueError, match='OpenCLIPTextEncoder.*PrecomputedTextEncoder'):
        export.export_text_encoder(ready, [], tmp_path / 'b.onnx', {})


@pytest.mark.parametrize(
    'changes, field', [(dict(embed_dims='99999'), 'embed_dims'), (dict(templates='["{}", 5]'), 'templates')]
)
def test_what_the_runtime_would_refuse_is_not_written(changes, field, tmp_path):
    metadata = dict(kdeov_format='1', kdeov_kind='text_encoder', embed_dims='8', templates='["{}"]')
    metadata['tokenizer'] = json.dumps(dict(merges='a b', context_length=16))
    with pytest.raises(ValueError, match=f'a.onnx: {field}'):
        export.write(None, {}, (), (), tmp_path / 'a.onnx', {**metadata, **changes})
    assert list(tmp_path.iterdir()) == []
