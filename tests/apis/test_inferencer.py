"""KDEOVInferencer against the functions and formulas beneath it."""

import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from kdeov_mm.apis import Detections, EmbeddingResult, KDEOVInferencer, build_vocabulary, inference_pipeline, load_model
from kdeov_mm.apis.inferencer import MAX_CACHED
from kdeov_mm.models import TextBank
from kdeov_mm.models.post_processing import independent_probability

NAMES = ['red circle', 'dog', 'a very small cup']
PHOTOS = ['a.jpg', 'b.png', 'turned.jpg']
pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture(scope='module')
def reference(trained):
    """Config and model, for MMDetection's own way through pipeline and test_step."""
    cfg = Config.fromfile(trained[0])
    return cfg, load_model(cfg, trained[1], build_vocabulary(cfg, NAMES))


@torch.no_grad()
def embeddings_by_hand(model, paths, size=64):
    """Read, resize, scale, embed: image by image."""
    rows = []
    for path in paths:
        image = cv2.resize(cv2.imread(str(path)), (size, size))
        rows.append(model.encode_image(torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None] / 255)[0])
    return torch.stack(rows).numpy()


@torch.no_grad()
def test_detect_is_what_test_step_finds(inferencer, reference, photos):
    cfg, model = reference
    found = inferencer.detect('photos', NAMES, score_threshold=0.0)
    assert [Path(result.image.path).name for result in found] == ['a.jpg', 'b.png', 'turned.jpg']
    assert [(result.width, result.height) for result in found] == [(90, 50), (64, 64), (40, 80)]
    for result in found:
        data = inference_pipeline(cfg)(dict(img_path=result.image.path, img_id=0))
        (sample,) = model.test_step(dict(inputs=[data['inputs']], data_samples=[data['data_samples']]))
        expected = sample.pred_instances
        assert len(result) == len(expected) > 0
        assert np.allclose(result.boxes, expected.bboxes.numpy(), atol=1e-3)
        assert np.allclose(result.scores, expected.scores.numpy(), atol=1e-5)
        assert result.names == [NAMES[label] for label in expected.labels]
    best = float(found[0].scores.max())
    assert len(inferencer.detect('photos/a.jpg', NAMES, score_threshold=best - 1e-4)[0]) >= 1
    assert len(inferencer.detect('photos/a.jpg', NAMES, score_threshold=best + 1e-4)[0]) == 0


def test_classify_is_a_softmax_of_cosines(inferencer, reference, photos):
    cfg, model = reference
    paths = sorted(photos.glob('*g'))
    texts = build_vocabulary(cfg, NAMES).embeddings.numpy()
    found = inferencer.classify(paths, NAMES, top=2, scale=20.0)
    for result, row in zip(found, embeddings_by_hand(model, paths)):
        lamp = build_vocabulary(cfg, ['lamp']).embeddings.numpy() @ row  # "dog" of the lexicon is an asked name
        parts = np.exp(20 * np.concatenate([texts @ row, lamp, [0.1]]))  # the background's cosine is 0.1
        probabilities = parts[:3] / parts.sum()
        order = probabilities.argsort()[::-1][:2]
        assert result.names == [NAMES[k] for k in order] and result.name == result.names[0]
        assert np.allclose(result.probabilities, probabilities[order], atol=1e-5)
        assert result.none == pytest.approx(parts[3:].sum() / parts.sum(), abs=1e-5)


def test_none_of_one_name_is_the_rest_of_its_independent_probability(inferencer, reference, photos):
    """Classification and detection have one formula."""
    cfg, model = reference
    (row,) = embeddings_by_hand(model, ['photos/b.png'])
    competitors = build_vocabulary(cfg, ['dog', 'lamp']).embeddings
    for name, competes in {'puppy': [1, 1], 'dog': [0, 1], 'animal': [0, 1], 'cup': [1, 1]}.items():
        z, rivals = (
            100 * texts @ torch.from_numpy(row) for texts in (build_vocabulary(cfg, [name]).embeddings, competitors)
        )
        signs = torch.tensor([competes]).float()
        expected = independent_probability(z[None], rivals[None], signs, 1 - signs, 10.0).item()
        result = inferencer.classify('photos/b.png', [name])[0]
        assert result.probabilities[0] == pytest.approx(expected, abs=1e-4)
        assert result.none == pytest.approx(1 - expected, abs=1e-4)


def test_competitors_leave_the_order_of_names(inferencer, photos):
    texts, images = inferencer.embed_names(NAMES), inferencer.embed('photos').embeddings
    found = inferencer.classify('photos', NAMES, top=3)
    assert [result.names for result in found] == [[NAMES[k] for k in np.argsort(-texts @ row)] for row in images]


def test_search_says_that_no_image_matches(inferencer, exported, photos):
    every = inferencer.search('a dog and a lamp', 'photos', top=3)
    query, rows = inferencer.embed_text('a dog and a lamp'), inferencer.embed('photos').embeddings
    expected = {Path(image).name: 1 / (1 + np.exp(10 - 100 * row @ query)) for image, row in zip(PHOTOS, rows)}
    for match in every.matches:  # the query mentions the whole lexicon, and the background's cosine is 0.1
        assert match.probability == pytest.approx(expected[Path(match.image.name).name], abs=1e-4)
    kept = inferencer.search('a dog and a lamp', 'photos', 3, threshold=every.matches[0].probability)
    assert [match.image.name for match in kept.matches] == [
        match.image.name for match in every.matches if match.probability >= every.matches[0].probability
    ]
    assert len(inferencer.search('a dog', 'photos', threshold=1.0)) == 0
    assert all(match.probability is None for match in inferencer.search(photos / 'b.png', 'photos').matches)
    for query, threshold in ((photos / 'b.png', 0.5), ('a dog', 1.5), ('a dog', -0.1)):
        with pytest.raises(ValueError, match='threshold'):
            inferencer.search(query, 'photos', threshold=threshold)
    for match, other in zip(every.matches, KDEOVInferencer(exported).search('a dog and a lamp', 'photos', 3).matches):
        assert other.probability == pytest.approx(match.probability, abs=2e-2) and other.image.name == match.image.name


def test_a_model_without_competitors_has_no_none(trained, photos):
    without = KDEOVInferencer(*trained, device='cpu')
    without.backend.model.calibration.background = None
    result = without.classify('photos/b.png', NAMES)[0]
    assert result.none is None and result.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert 'none' not in result.to_dict() and len(result.rows()) == 3
    with pytest.raises(ValueError, match='threshold'):
        without.search('a dog', 'photos', threshold=0.5)


def test_images_of_all_kinds_have_one_embedding(inferencer, reference, photos):
    image = Image.open(photos / 'b.png')
    pixels = np.asarray(image)
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    kinds = ['photos/b.png', photos / 'b.png', image, pixels, tensor, tensor / 255]
    found = inferencer.embed(kinds)
    assert found.embeddings.dtype == np.float32 and found.embeddings.shape == (6, 128)
    assert np.allclose(found.embeddings, embeddings_by_hand(reference[1], [photos / 'b.png']), atol=1e-5)
    assert np.allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)
    assert inferencer.embed([]).embeddings.shape == (0, 128)


def test_channel_order_of_arrays(trained, inferencer, photos):
    bgr = KDEOVInferencer(*trained, device='cpu', channel_order='bgr').embed(cv2.imread('photos/b.png')).embeddings
    assert np.allclose(bgr, inferencer.embed('photos/b.png').embeddings, atol=1e-6)
    assert not np.allclose(bgr, inferencer.embed(cv2.imread('photos/b.png')).embeddings, atol=1e-4)


def test_search_words_and_images(inferencer, reference, photos):
    cfg, model = reference
    paths = [str(path) for path in sorted(photos.glob('*g'))]
    rows = embeddings_by_hand(model, paths)
    text = TextBank.build(['a dog'], cfg.model.text_encoder, 'none').embeddings[0].numpy()
    expected = sorted(((float(row @ text), path) for row, path in zip(rows, paths)), reverse=True)
    embedded = inferencer.embed('photos')
    for images in ('photos', embedded):
        found = inferencer.search('a dog', images, top=2)
        assert [Path(match.image.path).name for match in found.matches] == [Path(path).name for _, path in expected[:2]]
        assert [match.score for match in found.matches] == pytest.approx([score for score, _ in expected[:2]], abs=1e-5)
    for query in (photos / 'b.png', Image.open(photos / 'b.png'), np.asarray(Image.open(photos / 'b.png'))):
        best = inferencer.search(query, embedded).matches[0]
        assert Path(best.image.path).name == 'b.png' and best.score == pytest.approx(1, abs=1e-5)


def test_search_in_an_index(exported, photos, tmp_path):
    pytest.importorskip('lancedb', reason='an index needs lancedb')
    from kdeov_mm.search import ImageEncoder, ImageStore, update_index

    encoder = ImageEncoder(str(exported / 'image_encoder.onnx'))
    store = ImageStore.create(str(tmp_path / 'index'), encoder.describe())
    update_index(sorted(map(str, photos.glob('*g'))), store, encoder, workers=1)
    inferencer = KDEOVInferencer(exported)
    expected = inferencer.search('a dog', str(photos))
    for index in (str(tmp_path / 'index'), store):
        found = inferencer.search('a dog', index)
        assert [match.image.name for match in found.matches] == [match.image.name for match in expected.matches]
        assert [match.score for match in found.matches] == pytest.approx(
            [match.score for match in expected.matches], abs=0.01
        )  # JPEG may be decoded at reduced scale there


def test_exported_files_agree_with_the_model(inferencer, exported, photos):
    runtime = KDEOVInferencer(exported)
    png = 'photos/b.png'  # of the network's own size, so that no resizing differs
    assert np.allclose(runtime.embed(png).embeddings, inferencer.embed(png).embeddings, atol=1e-4)
    expected = inferencer.classify(png, NAMES)[0]
    found = runtime.classify(png, NAMES)[0]
    assert found.names == expected.names and np.allclose(found.probabilities, expected.probabilities, atol=1e-3)
    expected = inferencer.detect(png, NAMES, score_threshold=0.01)[0]
    found = runtime.detect(png, NAMES, score_threshold=0.01)[0]
    assert len(found) and np.allclose(found.boxes[:5], expected.boxes[:5], atol=0.1)
    assert found.names[:5] == expected.names[:5]
    assert set(runtime.detect(png, ['cup', 'tree'], score_threshold=0.0)[0].names) <= {'cup', 'tree'}
    single = KDEOVInferencer(exported / 'image_encoder.onnx')
    assert single.names is None
    with pytest.raises(ValueError, match='text_encoder'):
        single.detect(png, NAMES)


def test_a_folded_vocabulary_needs_no_text_encoder(trained, photos):
    """A detector's file with names of its own is asked for them without their embeddings."""
    asked = []

    class Folded:
        folded = NAMES

        def detect(self, images, names, texts, score_threshold):
            asked.append((list(names), texts))
            none = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
            return [Detections(*none, names, *image.shape[:2]) for image in images]

    inferencer = KDEOVInferencer(*trained, device='cpu')
    embed_names = inferencer.backend.embed_names
    inferencer.backend = Folded()
    inferencer.backend.embed_names = embed_names
    inferencer.detect('photos/a.jpg', NAMES)
    inferencer.detect('photos/a.jpg', NAMES[::-1])
    assert asked[0] == (NAMES, None) and asked[1][0] == NAMES[::-1] and asked[1][1].embeddings.shape == (3, 128)


def test_vocabulary_is_an_instances_own(trained, photos, tmp_path):
    one, other = (KDEOVInferencer(*trained, device='cpu') for _ in range(2))
    (tmp_path / 'names.txt').write_text('\n'.join(NAMES))
    one.set_vocabulary('names.txt')
    other.set_vocabulary(['bird', 'boat'], templates='none')
    assert one.names == NAMES and other.names == ['bird', 'boat']
    assert one.classify('photos/a.jpg')[0].names != other.classify('photos/a.jpg')[0].names
    assert set(one.classify('photos/a.jpg', ['x', 'y'])[0].names) == {'x', 'y'} and one.names == NAMES
    single = other.classify('photos/a.jpg', ['bird', 'boat'])[0]
    assert not np.allclose(single.probabilities, other.classify('photos/a.jpg')[0].probabilities, rtol=1e-3, atol=0)


def test_ready_embeddings(trained, inferencer, photos, tmp_path):
    texts = build_vocabulary(Config.fromfile(trained[0]), NAMES).embeddings.numpy()
    np.save(tmp_path / 'texts.npy', texts)
    ready = KDEOVInferencer(*trained, device='cpu')
    ready.set_vocabulary(NAMES, embeddings='texts.npy')
    expected = inferencer.classify('photos/a.jpg', NAMES)[0]
    assert np.allclose(ready.classify('photos/a.jpg')[0].probabilities, expected.probabilities, atol=1e-5)


def test_two_threads_on_each_of_two_instances(trained, photos):
    """Every thread has words of its own, and gets what it would get alone."""
    instances = [KDEOVInferencer(*trained, device='cpu', batch_size=1) for _ in range(2)]
    words = [['red circle', 'dog'], ['cup', 'tree', 'house']]
    expected = [[(found.names, found.scores) for found in instances[0].detect('photos', names, 0.0)] for names in words]
    failures, barrier = [], threading.Barrier(4)

    def work(instance, names, expected):
        try:
            barrier.wait()
            for _ in range(3):
                for found, (labels, scores) in zip(instance.detect('photos', names, 0.0), expected):
                    assert found.names == labels and np.allclose(found.scores, scores, atol=1e-6)
                assert set(instance.classify('photos/a.jpg', names)[0].names) == set(names)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(instance, *each)) for instance in instances for each in zip(words, expected)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_vocabularies_in_memory_are_few(trained, photos):
    inferencer = KDEOVInferencer(*trained, device='cpu')
    for number in range(MAX_CACHED + 3):
        inferencer.classify('photos/a.jpg', [f'name {number}'])
    assert len(inferencer._cache) == MAX_CACHED


def test_a_stream_holds_one_batch(inferencer, photos):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield np.full((32, 32, 3), len(taken) % 256, np.uint8)

    stream = inferencer.detect(endless(), NAMES, stream=True)
    assert not taken
    first = next(stream)
    assert first.image.name == 'image 0' and len(taken) == inferencer.batch_size
    assert [next(stream).image.name for _ in range(2)] == ['image 1', 'image 2'] and len(taken) == 4
    parts = inferencer.embed(endless(), stream=True)
    part = next(parts)
    assert isinstance(part, EmbeddingResult) and len(part) == inferencer.batch_size


def test_a_camera_needs_a_stream(inferencer, monkeypatch):
    monkeypatch.setattr(cv2.VideoCapture, 'isOpened', lambda self: True, raising=False)
    with pytest.raises(ValueError, match='stream=True|camera 7'):
        inferencer.detect(7, NAMES)


def test_broken_images_are_raised_skipped_or_told(trained, inferencer, broken, photos):
    with pytest.raises(ValueError, match='broken.jpg'):
        inferencer.classify('photos', NAMES)
    told = []
    for on_error in ('skip', told.append):
        found = KDEOVInferencer(*trained, device='cpu', on_error=on_error).classify('photos', NAMES)
        assert [Path(result.image.name).name for result in found] == ['a.jpg', 'b.png', 'turned.jpg']
    assert len(told) == 1 and 'broken.jpg' in str(told[0])


def test_progress_is_shown_where_asked_for(trained, inferencer, photos, capsys):
    inferencer.classify('photos', NAMES)
    assert capsys.readouterr().out == ''
    KDEOVInferencer(*trained, device='cpu', show_progress=True).classify('photos', NAMES)
    assert 'Images' in (told := capsys.readouterr()).out + told.err


@pytest.mark.parametrize(
    'call, named',
    [
        (lambda it: it.classify('photos/a.jpg'), 'vocabulary'),
        (lambda it: it.classify('photos/a.jpg', []), 'names'),
        (lambda it: it.classify('photos/a.jpg', ['cat', 'cat']), "'cat'"),
        (lambda it: it.classify('photos/a.jpg', NAMES, top=0), 'top'),
        (lambda it: it.detect('photos/a.jpg', NAMES, score_threshold=1.5), '1.5'),
        (lambda it: it.search('', 'photos'), "query.*''|query"),
        (lambda it: it.search('dog', 'photos', top=0), 'top'),
        (lambda it: it.search(np.zeros((2, 8, 8, 3), np.uint8), 'photos'), '2 images'),
        (lambda it: it.search('dog', EmbeddingResult([], np.zeros((0, 7), np.float32))), r'\[0, 7\]'),
        (lambda it: it.set_vocabulary(NAMES, templates='no_such_set'), 'no_such_set'),
    ],
)
def test_bad_calls_name_their_input(inferencer, photos, call, named):
    with pytest.raises(ValueError, match=named):
        call(inferencer)


@pytest.mark.parametrize(
    'args, options, named',
    [
        (('kdeov_yolov8m',), {}, 'kdeov_yolov8m.*kdeov_yolov8n'),
        (('configs/kdeov_yolov8n.py',), {}, 'checkpoint'),
        (('config.py', 'student.pth'), dict(batch_size=0), 'batch_size'),
        (('config.py', 'student.pth'), dict(on_error='ignore'), 'on_error'),
        (('config.py', 'student.pth'), dict(channel_order='rbg'), 'channel_order'),
        (('config.py', 'student.pth'), {}, 'config.py'),
        (('model.onnx', 'student.pth'), {}, 'student.pth'),
    ],
)
def test_bad_models_are_named(photos, args, options, named):
    with pytest.raises(ValueError, match=named):
        KDEOVInferencer(*args, **options)


def test_a_work_dir_and_safetensors(trained, inferencer, photos, tmp_path):
    from safetensors.torch import save_file

    save_file(torch.load(trained[1], weights_only=True)['state_dict'], tmp_path / 'student.safetensors')
    found = KDEOVInferencer(trained[0], 'student.safetensors', device='cpu').embed('photos')
    assert np.allclose(found.embeddings, inferencer.embed('photos').embeddings, atol=1e-6)
    with pytest.raises(ValueError, match='broken.safetensors'):
        Path('broken.safetensors').write_bytes(b'no weights')
        KDEOVInferencer(trained[0], 'broken.safetensors')


def test_a_stage_1_model_does_not_detect(demo_config, photos, tmp_path):
    from kdeov_mm.utils import load_config
    from mmyolo.registry import MODELS

    cfg = demo_config(config=Path(__file__).resolve().parents[2] / 'configs' / 'kdeov_yolov8n_pretrain.py')
    cfg.dump('stage1.py')
    torch.save(dict(state_dict=MODELS.build(load_config('stage1.py').model).state_dict()), 'stage1.pth')
    stage1 = KDEOVInferencer('stage1.py', 'stage1.pth', device='cpu')
    assert len(stage1.embed('photos')) == 3
    with pytest.raises(ValueError, match='bbox_head'):
        stage1.detect('photos', NAMES)


def test_the_shipped_demo_by_its_name(demo_world):
    """It knows shapes and colours: on images of one object it is right far above chance."""
    world = demo_world('test_single')
    content = json.loads((world / 'annotations' / 'instances_test_single.json').read_text())
    names = {category['id']: category['name'] for category in content['categories']}
    files = {image['id']: image['file_name'] for image in content['images']}
    chosen = content['annotations'][::100]
    inferencer = KDEOVInferencer('kdeov_yolov8n', device='cpu')
    vocabulary = list(dict.fromkeys(names[item['category_id']] for item in chosen))
    found = inferencer.classify([world / 'test_single' / files[item['image_id']] for item in chosen], vocabulary)
    right = [result.name == names[item['category_id']] for result, item in zip(found, chosen)]
    assert np.mean(right) > 0.5 and len(vocabulary) >= 10
