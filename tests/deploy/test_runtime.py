"""The runtime: what it gives, what it refuses, and that it needs three packages only."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from kdeov_mm.models import ClassEmbeddings
from kdeov_mm.apis import inference_pipeline
from kdeov_mm.benchmarks.agreement import cosines, unmatched
from kdeov_mm.deploy import Runtime, export, read_images
from kdeov_mm.deploy.quantize import REASONS, quantize
from kdeov_mm.deploy.runtime import parse_metadata
from kdeov_mm.models.clip import OpenCLIPTextEncoder
from kdeov_mm.text import fill
from kdeov_mm.utils import load_config
from kdeov_mm.utils.config import first_test_dataloader

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, time
BLOCK
start = time.perf_counter()
from kdeov_mm.deploy import Runtime, read_images
seconds = time.perf_counter() - start
import numpy as np
runtime = Runtime(sys.argv[1:5])
images, kept, defects = read_images(sys.argv[5:])
labels = runtime.classify(images, ['dog', 'red bus'])
order, similarity = runtime.search('a red bus at night', runtime.encode_image(images))
found = runtime.detect(images, score_threshold=0.)
mine = runtime.detect(images, ['dog', 'red bus'], score_threshold=0.)
heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmyolo', 'open_clip', 'cv2', 'matplotlib'} & set(sys.modules)
print(len(images), len(defects), len(labels[0].names), len(order), len(found[0].names) > 0, len(mine[0].names) > 0,
      sorted(heavy), seconds)
"""
BLOCK = """
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmyolo', 'open_clip', 'cv2'):
            raise ModuleNotFoundError(name)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *args: None if name == 'mmengine' else find_spec(name, *args)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope='module')
def files(exported, tiny_teacher, tmp_path_factory):
    """All four kinds of files."""
    encoder = OpenCLIPTextEncoder('kdeov-shapes', tiny_teacher)
    metadata = dict(kdeov_format='1', embed_dims='128', text_space='kdeov-shapes:random')
    path = tmp_path_factory.mktemp('text') / 'text_encoder.onnx'
    return dict(exported, text_encoder=export.export_text_encoder(encoder, ['a {}', 'the {}'], path, metadata))


@pytest.fixture(scope='module')
def runtime(files):
    return Runtime(list(files.values()), threads=1)


@pytest.fixture(scope='module')
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((128, 128), (60, 200), (333, 100))]


def test_embeddings_do_not_depend_on_the_batch(runtime, images):
    found = runtime.encode_image(images, batch_size=2)
    assert found.shape == (3, 128) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[1], runtime.encode_image(images[1:2])[0], atol=1e-5)
    assert runtime.encode_image([]).shape == runtime.encode_text([]).shape == (0, 128)
    assert runtime.preprocess(images[1]).shape == (3, 128, 128) and runtime.input_size == (128, 128)


def test_classification_is_a_softmax_over_cosines(runtime, images, student):
    names = ['dog', 'red bus', 'cat']
    prompts = runtime.encode_text([fill(template, name) for name in names for template in ('a {}', 'the {}')])
    texts = prompts.reshape(3, 2, 128).mean(1)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    lamp = student.lexicon_embeddings.embeddings[1:].numpy()  # "dog" is an asked name
    rows = runtime.encode_image(images)
    similarity = np.concatenate([rows @ texts.T, rows @ lamp.T, np.full((3, 1), 0.01)], axis=1)
    for labels, expected in zip(runtime.classify(images, names, top=2), torch.from_numpy(100 * similarity).softmax(1)):
        value, index = expected[:3].topk(2)
        assert labels.names == [names[k] for k in index]
        np.testing.assert_allclose(labels.probabilities, value, atol=1e-4)
        assert labels.none == pytest.approx(float(expected[3:].sum()), abs=1e-4)
    again = runtime.classify(images, names, class_embeddings=texts)
    np.testing.assert_allclose(again[0].probabilities.sum() + again[0].none, 1, atol=1e-5)


def test_presence_is_that_of_the_model(runtime, images, student):
    rows = runtime.encode_image(images)
    for query in ('a dog beside a tree', 'a red bus'):  # the first mentions an entry of the lexicon, "dog"
        text = runtime.encode_text([query])[0]
        rivals = student.lexicon_embeddings.embeddings.numpy()[1 if 'dog' in query else 0 :]
        similarity = np.concatenate([rows @ text[:, None], rows @ rivals.T, np.full((3, 1), 0.01)], axis=1)
        expected = torch.from_numpy(100 * similarity).softmax(1)[:, 0]
        np.testing.assert_allclose(runtime.presence(query, rows), expected, atol=1e-4)


def test_competitors_of_an_image_encoder_are_checked(exported, tmp_path):
    model = onnx.load(exported['image_encoder'])
    given = {prop.key: prop for prop in model.metadata_props}['competitors']
    good = json.loads(given.value)
    assert Runtime(exported['image_encoder']).image_competitors.embeddings.shape == (2, 128)
    for damage in (
        dict(background=2),
        dict(background='0'),
        dict(embeddings='AAAA'),
        dict(embeddings=good['embeddings'][:-8] + '/////w=='),
        dict(embeddings=None),
        dict(embeddings='é'),
        dict(entries=['dog']),
        dict(entries=['dog', 'dog']),
        dict(hierarchy=None),
    ):
        given.value = json.dumps(good | damage)
        onnx.save(model, tmp_path / 'damaged.onnx')
        with pytest.raises(ValueError, match='damaged.onnx'):
            Runtime(tmp_path / 'damaged.onnx')
    model.metadata_props.remove(given)  # an old export
    onnx.save(model, tmp_path / 'old.onnx')
    old = Runtime(tmp_path / 'old.onnx')
    assert old.image_competitors is None
    with pytest.raises(ValueError, match='export the model again'):
        old.presence('a dog', np.zeros((1, 128), np.float32))


def test_search_sorts_by_cosine(runtime, images):
    embeddings = runtime.encode_image(images)
    order, similarity = runtime.search('a red bus', embeddings, top=2)
    expected = embeddings @ runtime.encode_text(['a red bus'])[0]
    np.testing.assert_array_equal(order, np.argsort(-expected)[:2])
    np.testing.assert_allclose(similarity, expected[order], atol=1e-6)
    assert runtime.search(images[2], embeddings)[0][0] == 2
    assert runtime.search(embeddings[1], embeddings)[0][0] == 1


def test_detections_are_the_models(runtime, student, images, predict):
    for image, found, own in zip(
        images,
        runtime.detect(images, score_threshold=0.0),
        runtime.detect(images, student.vocabulary, student.texts.numpy(), 0.0),
    ):
        height, width = image.shape[:2]
        (expected,) = predict(student, torch.from_numpy(runtime.preprocess(image)[None]))
        expected['boxes'] = expected['boxes'] * np.array([width / 128, height / 128] * 2, np.float32)
        for each in (found, own):
            assert unmatched(vars(each), expected) == 0
            assert each.names == [student.vocabulary[k] for k in each.labels]
            assert (each.boxes >= 0).all() and (each.boxes <= [width, height, width, height]).all()
    few = runtime.detect(images[:1], score_threshold=float(np.median(found.scores)))[0]
    assert (few.scores >= np.median(found.scores)).all()


@pytest.mark.parametrize('config, size', [('kdeov_yolov8n.py', None), ('kdeov_yolov8n_ov-coco.py', 320)])
def test_images_are_prepared_as_in_the_config(runtime, coco_mini, exported, config, size):
    cfg = load_config(str(ROOT / 'configs' / config))
    other = Runtime(exported['image_encoder'])
    other.preprocessing = export.preprocessing(cfg, size)
    for step in first_test_dataloader(cfg).dataset.pipeline if size else ():
        if 'Resize' in step['type']:
            step['scale'] = (size, size)
    pipeline, differences = inference_pipeline(cfg), []
    for path in sorted((coco_mini / 'val2017').glob('*.jpg'))[:8]:
        data = pipeline(dict(img_path=str(path), img_id=0))
        expected = data['inputs'].numpy()[::-1].astype(np.float32) / 255
        (image,), _, _ = read_images([path])
        found, scale, shift = other.place(image)
        assert found.shape == expected.shape
        meta = data['data_samples'].metainfo
        np.testing.assert_allclose(scale, meta['scale_factor'], rtol=1e-5)
        pad = meta.get('pad_param', (0, 0, 0, 0))
        np.testing.assert_array_equal(shift, [pad[2], pad[0]])
        differences.append(np.abs(found - expected).mean())
    assert max(differences) < 0.01  # of a range of 1: OpenCV and Pillow round differently


def test_a_picture_is_prepared_as_its_pixels(runtime, images):
    for image in images:
        for found, expected in zip(runtime.place(Image.fromarray(image)), runtime.place(image)):
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match='image.*RGB.*CMYK|image.*RGB.*Image'):
        runtime.place(Image.fromarray(images[0]).convert('CMYK'))


def change(path, out, **metadata):
    model = onnx.load(path)
    data = {item.key: item.value for item in model.metadata_props}
    onnx.helper.set_model_props(model, {key: value for key, value in {**data, **metadata}.items() if value})
    onnx.save(model, out)
    return out


def test_files_that_do_not_belong_are_named(files, tmp_path):
    encoder = files['image_encoder']
    for share in (0.3, 0.9, 0.999):
        cut = tmp_path / f'cut{share}.onnx'
        cut.write_bytes(encoder.read_bytes()[: int(share * encoder.stat().st_size)])
        with pytest.raises(ValueError, match=f'cut{share}'):
            Runtime(cut)
    (tmp_path / 'empty.onnx').touch()
    with pytest.raises(ValueError, match='empty.onnx'):
        Runtime(tmp_path / 'empty.onnx')
    with pytest.raises(FileNotFoundError, match='absent.onnx'):
        Runtime(tmp_path / 'absent.onnx')
    with pytest.raises(ValueError, match=r'a\.onnx'):
        Runtime(change(encoder, tmp_path / 'a.onnx', kdeov_format=''))
    with pytest.raises(ValueError, match=r'b\.onnx.*\b9\.1\b.*\b9\b.*\b1\b'):
        Runtime(change(encoder, tmp_path / 'b.onnx', kdeov_format='9', versions=json.dumps(dict(kdeov_mm='9.1'))))
    other = change(encoder, tmp_path / 'c.onnx', text_space='ViT-B-32:laion')
    with pytest.raises(ValueError, match='text_space'):
        Runtime([other, files['detector']])
    with pytest.raises(ValueError, match=r'c\.onnx.*image_encoder'):
        Runtime([encoder, other])
    with pytest.raises(ValueError, match='AbacusExecutionProvider'):
        Runtime(encoder, providers=['AbacusExecutionProvider'])
    with pytest.raises(ValueError, match='file'):
        Runtime([])


def test_two_students_of_one_teacher_do_not_mix(files, tmp_path):
    first, second, same, text = (
        change(files[kind], tmp_path / f'{kind}_{checksum}.onnx', checkpoint_sha256=checksum)
        for kind, checksum in (
            ('image_encoder', 'aa'),
            ('detector', 'bb'),
            ('open_detector', 'aa'),
            ('text_encoder', 'cc'),
        )
    )
    with pytest.raises(ValueError, match="checkpoint_sha256.*'aa'.*'bb'"):
        Runtime([first, second])
    assert len(Runtime([first, same, text]).sessions) == 3  # one text encoder serves all students of its teacher


def test_what_cannot_be_done_is_named(files, runtime, images):
    for names in ([], ['dog', ' '], 'dog'):
        with pytest.raises(ValueError, match='names'):
            runtime.classify(images, names)
        with pytest.raises(ValueError, match='names'):
            runtime.detect(images, names)
    with pytest.raises(ValueError, match=r'class_embeddings.*\[1, 128\].*\[1, 5\]'):
        runtime.detect(images, ['dog'], np.zeros((1, 5)))
    with pytest.raises(ValueError, match='text_encoder'):
        Runtime(files['open_detector']).detect(images, ['dog'])
    with pytest.raises(ValueError, match='open_detector'):
        Runtime(files['detector']).detect(images, ['dog'])
    with pytest.raises(ValueError, match='image_encoder'):
        Runtime(files['detector']).encode_image(images)
    for image in (images[0].astype(np.float32), images[0][..., :2], images[0][:0], 'a.jpg'):
        with pytest.raises(ValueError, match='image'):
            runtime.preprocess(image)
    with pytest.raises(ValueError, match='input_size'):
        Runtime(files['detector']).input_size = (100, 100)


def test_others_compete_and_are_not_detected(files, runtime, student, images, predict):
    names, texts, other = student.vocabulary[:2], student.texts[:2].numpy(), student.texts[2:4].numpy()
    alone = runtime.detect(images, names, texts, 0.0)
    rivalled = runtime.detect(images, names, texts, 0.0, others=other)
    assert all(set(found.names) <= set(names) for found in rivalled)
    assert sum(found.scores.sum() for found in rivalled) < sum(found.scores.sum() for found in alone)
    before = ClassEmbeddings(student.vocabulary, student.texts)
    try:
        student.set_vocabulary(
            ClassEmbeddings(names, student.texts[:2]), ClassEmbeddings(['x', 'y'], torch.from_numpy(other))
        )
        for image, found in zip(images, rivalled):
            (expected,) = predict(student, torch.from_numpy(runtime.preprocess(image)[None]))
            height, width = image.shape[:2]
            expected['boxes'] = expected['boxes'] * np.array([width / 128, height / 128] * 2, np.float32)
            best = expected['scores'] >= 0.3  # below, random weights have ties that suppression decides by rounding
            expected = {key: value[best] for key, value in expected.items()}
            assert best.sum() >= 5 and unmatched(vars(found.above(0.3)), expected) == 0
    finally:
        student.set_vocabulary(before)
    with pytest.raises(ValueError, match='others'):
        Runtime(files['detector']).detect(images, others=['dog'])


def test_a_detector_of_an_earlier_format_must_be_exported_again(files, tmp_path):
    for kind in ('detector', 'open_detector'):
        with pytest.raises(ValueError, match=f'{kind}.*export it again'):
            Runtime(change(files[kind], tmp_path / f'{kind}.onnx', kdeov_format='1'))


@pytest.mark.parametrize(
    'lexicon',
    [
        [],
        dict(entries='dog', hierarchy=True),
        dict(entries=['dog', 'dog'], hierarchy=True),
        dict(entries=['dog', 3], hierarchy=True),
        dict(entries=['dog'], hierarchy=1),
        dict(entries=[str(i) for i in range(100_001)], hierarchy=False),
        dict(hierarchy=False),
    ],
)
def test_a_bad_lexicon_is_refused(files, tmp_path, lexicon):
    with pytest.raises(ValueError, match='bad.onnx'):
        Runtime(change(files['open_detector'], tmp_path / 'bad.onnx', lexicon=json.dumps(lexicon)))


def test_a_lexicon_of_another_size_than_the_graphs_is_told(files, images, tmp_path):
    path = change(files['open_detector'], tmp_path / 'bad.onnx', lexicon='{"entries": ["a"], "hierarchy": false}')
    with pytest.raises(ValueError, match='bad.onnx'):
        Runtime(path).detect(images, ['dog'], np.eye(1, 128, dtype=np.float32))


def run_alone(python, script, files, tmp_path, images):
    from PIL import Image

    paths = [tmp_path / f'{i}.png' for i in range(len(images))]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    command = [python, '-c', script, *files.values(), *paths, tmp_path / 'broken.jpg']
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(PYTHONPATH=str(ROOT), PATH='/usr/bin:/bin'),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('3 1 2 3 True True [] '), done.stdout


def test_it_imports_nothing_heavy(files, tmp_path, images):
    run_alone(sys.executable, SCRIPT.replace('BLOCK', BLOCK), files, tmp_path, images)


@pytest.mark.slow
def test_it_runs_where_nothing_else_is_installed(files, tmp_path, images):
    venv.create(tmp_path / 'venv', with_pip=True)
    python = tmp_path / 'venv' / 'bin' / 'python'
    installed = subprocess.run(
        [python, '-m', 'pip', 'install', '-q', 'numpy', 'pillow', 'onnxruntime'], capture_output=True, text=True
    )
    if installed.returncode:
        pytest.skip(f'pip cannot install: {installed.stderr[-200:]}')
    run_alone(python, SCRIPT.replace('BLOCK', ''), files, tmp_path, images)


@pytest.mark.parametrize('target, reasons', [('onnxruntime', {'product', 'stem'}), ('openvino', {'product'})])
def test_int8_keeps_the_embedding(files, runtime, real_images, tmp_path, target, reasons):
    kept = quantize(files['image_encoder'], real_images[:60].numpy(), tmp_path / 'int8.onnx', runtime=target)
    assert set(kept.values()) == {REASONS[reason] for reason in reasons} and len(kept) == len(reasons) + 1
    small = Runtime(tmp_path / 'int8.onnx')
    assert json.loads(small.metadata['image_encoder']['float_layers']) == kept
    assert json.loads(small.metadata['image_encoder']['quantization'])['calibration_images'] == 60
    feeds = dict(images=real_images[60:].numpy())
    agreement = cosines(small.session.run(None, feeds)[0], runtime.sessions['image_encoder'].run(None, feeds)[0])
    assert agreement.min() >= 0.99
    assert (tmp_path / 'int8.onnx').stat().st_size < files['image_encoder'].stat().st_size / 2
    nodes = onnx.load(tmp_path / 'int8.onnx').graph.node
    dequantized = {output for node in nodes if node.op_type == 'DequantizeLinear' for output in node.output}
    convolutions = [node for node in nodes if node.op_type == 'Conv']
    in_float = [node.input[1] for node in convolutions if not {node.input[0], node.input[1]} <= dequantized]
    assert in_float == [weight for weight, reason in kept.items() if reason == REASONS['stem']]
    products = [node.input[1] for node in nodes if node.op_type == 'Gemm']
    assert set(products) == {weight for weight, reason in kept.items() if reason == REASONS['product']}
    if target == 'openvino':
        agreement = cosines(
            run_openvino(tmp_path / 'int8.onnx', feeds['images'])[0],
            runtime.sessions['image_encoder'].run(None, feeds)[0],
        )
        assert agreement.min() >= 0.99


def run_openvino(path, images):
    openvino = pytest.importorskip('openvino')
    return openvino.compile_model(str(path), 'CPU', dict(INFERENCE_PRECISION_HINT='f32'))(images)


def test_what_cannot_be_quantised_is_named(files, real_images, tmp_path):
    with pytest.raises(ValueError, match="runtime.*onnxruntime, openvino.*'tflite'"):
        quantize(files['image_encoder'], real_images[:1].numpy(), tmp_path / 'b.onnx', runtime='tflite')
    with pytest.raises(ValueError, match='calibrate'):
        quantize(files['image_encoder'], [], tmp_path / 'b.onnx')
    with pytest.raises(ValueError, match=r'text_encoder\.onnx'):
        quantize(files['text_encoder'], real_images[:1].numpy(), tmp_path / 'b.onnx')


def test_files_hold_the_calibration_and_the_thresholds(make_student, tmp_path, images, predict):
    student = make_student(seed=3)
    student.calibration.set(scale=1.7, bias=0.4, threshold=0.45, background=0.05)
    metadata = dict(
        embed_dims=str(student.embed_dims), preprocessing=json.dumps(dict(size=[128, 128], resize='stretch'))
    )
    own = {student.vocabulary[0]: 0.9, student.vocabulary[1]: 0.0}
    export.export_detector(student, tmp_path / 'detector.onnx', metadata, own)
    runtime = Runtime(tmp_path / 'detector.onnx')
    assert runtime.threshold == pytest.approx(0.45) and runtime.thresholds == own
    (found,), (all_,) = runtime.detect(images[:1]), runtime.detect(images[:1], score_threshold=dict.fromkeys(own, 0.0))
    (expected,) = predict(student, torch.from_numpy(runtime.preprocess(images[0])[None]))
    height, width = images[0].shape[:2]
    expected['boxes'] = expected['boxes'] * np.array([width / 128, height / 128] * 2, np.float32)
    least = np.array([own.get(name, 0.45) for name in student.vocabulary], np.float32)
    (everything,) = runtime.detect(images[:1], score_threshold=dict.fromkeys(student.vocabulary, 0.0))
    assert unmatched(vars(everything), expected) == 0
    np.testing.assert_array_equal(found.scores, everything.scores[everything.scores >= least[everything.labels]])
    assert (all_.scores[all_.labels > 1] >= 0.45).all()


@pytest.mark.parametrize(
    'changes', [dict(threshold='1.5'), dict(threshold='"a"'), dict(threshold='{}'), dict(thresholds='{"wolf": 0.5}')]
)
def test_bad_thresholds_in_a_file_are_refused(changes):
    data = dict(
        embed_dims='8', preprocessing=json.dumps(dict(size=[128, 128], resize='stretch')), names='["dog"]', **changes
    )
    with pytest.raises(ValueError, match=next(iter(changes))):
        parse_metadata('detector.onnx', 'detector', data)
    old = {key: value for key, value in data.items() if key not in changes}
    assert parse_metadata('detector.onnx', 'detector', old)['threshold'] == 0.3  # of earlier versions
