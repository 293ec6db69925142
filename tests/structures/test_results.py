"""Results as tables, supervision's detections, COCO files and pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from kdeov_mm.apis import InputImage
from kdeov_mm.structures import ClassificationResult, Detections, EmbeddingResult, Match, Results, SearchResult
from kdeov_mm.structures.classification import softmax
from kdeov_mm.structures.results import need

pixels = np.zeros((40, 60, 3), np.uint8)
VOCABULARY = ['cat', 'dog']


@pytest.fixture
def detection():
    return Detections(
        np.array([[1, 2, 11, 22], [30, 5, 50, 35]], np.float32),
        np.array([0.9, 0.4], np.float32),
        np.array([1, 0]),
        VOCABULARY,
        40,
        60,
        InputImage('image 0', pixels=pixels),
    )


@pytest.fixture
def nothing():
    return Detections(
        np.zeros((0, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
        VOCABULARY,
        40,
        60,
        InputImage('image 1', pixels=pixels),
    )


def test_names_and_dict(detection):
    assert detection.names == ['dog', 'cat'] and len(detection) == 2
    content = json.loads(json.dumps(detection.to_dict()))
    assert content['detections'][0] == dict(name='dog', score=pytest.approx(0.9), x1=1, y1=2, x2=11, y2=22)


def test_supervision(detection, nothing):
    pytest.importorskip('supervision')
    found = detection.to_supervision()
    assert found.xyxy.tolist() == [[1, 2, 11, 22], [30, 5, 50, 35]] and found.class_id.tolist() == [1, 0]
    assert found.data['class_name'].tolist() == ['dog', 'cat'] and found.confidence == pytest.approx([0.9, 0.4])
    assert len(nothing.to_supervision()) == 0


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(boxes=np.zeros((2, 5))), 'boxes'),
        (dict(boxes=np.zeros(8)), 'boxes'),
        (dict(scores=np.zeros(3)), r'scores.*\[2\].*\[3\]'),
        (dict(labels=np.zeros((2, 1))), 'labels'),
        (dict(labels=[0, 2]), 'labels.*2'),
        (dict(labels=[-1, 0]), 'labels.*-1'),
        (dict(class_names=[]), 'labels'),
    ],
)
def test_fields_that_do_not_fit_are_refused(detection, change, named):
    with pytest.raises(ValueError, match=named):
        replace(detection, **change)


def test_fields_may_be_lists(nothing):
    made = Detections([[1, 2, 3, 4]], [0.5], [1], VOCABULARY, 40, 60)
    assert [made.boxes.dtype, made.scores.dtype, made.labels.dtype] == [np.float32, np.float32, np.int64]
    assert made.names == ['dog'] and len(made.above(0.6)) == len(nothing) == 0


def test_a_slice_of_results_is_results(detection, nothing):
    results = Results([detection, nothing])
    assert type(results[:1]) is Results and list(results[:1]) == [detection] and results[1] is nothing


def test_a_table_of_nothing_has_columns(nothing):
    pytest.importorskip('pandas')
    columns = ['image', 'name', 'score', 'x1', 'y1', 'x2', 'y2']
    assert list(nothing.to_pandas()) == list(Results([nothing]).to_pandas()) == columns
    assert list(SearchResult('a dog', []).to_pandas()) == ['query', 'rank', 'image', 'score']


def test_pandas(detection, nothing):
    pytest.importorskip('pandas')
    table = Results([detection, nothing]).to_pandas()
    assert list(table.columns) == ['image', 'name', 'score', 'x1', 'y1', 'x2', 'y2']
    assert table.name.tolist() == ['dog', 'cat'] and table.x2.tolist() == [11, 50]
    assert detection.to_pandas().equals(table) and nothing.to_pandas().empty


def test_coco(detection, nothing, tmp_path):
    (tmp_path / 'found.json').write_text(json.dumps(Results([nothing, detection]).to_coco()))
    coco = COCO(str(tmp_path / 'found.json'))
    assert {image['file_name'] for image in coco.imgs.values()} == {'image 0', 'image 1'}
    found = coco.loadAnns(coco.getAnnIds())
    assert [coco.loadCats(item['category_id'])[0]['name'] for item in found] == ['dog', 'cat']
    assert found[0]['bbox'] == [1, 2, 10, 20] and found[0]['area'] == 200 and found[0]['score'] == 0.9
    assert coco.imgs[found[0]['image_id']]['file_name'] == 'image 0'
    assert detection.to_coco()['annotations'] == [dict(item, image_id=0) for item in found]
    with pytest.raises(ValueError):
        Results([detection, replace(nothing, class_names=['x'])]).to_coco()
    with pytest.raises(ValueError):
        Results([ClassificationResult(['cat'], np.ones(1))]).to_coco()


def test_the_threshold_is_a_minimum(detection):
    assert detection.above(0.9).names == ['dog'] and len(detection.above(0.95)) == 0
    kept = detection.above(0.4)
    assert (kept.boxes == detection.boxes).all() and kept.image is detection.image and kept.height == 40


def test_a_result_without_its_image_has_no_picture(detection, tmp_path):
    alone = replace(detection, image=None)
    assert alone.rows()[0]['image'] == '' and alone.to_coco()['images'][0]['width'] == 60
    with pytest.raises(ValueError):
        alone.save(tmp_path / 'a.png')
    with pytest.raises(ValueError):
        detection.save(tmp_path / 'a.txt')
    assert not list(tmp_path.iterdir())


def test_softmax_is_that_of_float64():
    similarities = np.random.default_rng(0).uniform(-1, 1, (5, 7)).astype(np.float32)
    logits = 100 * similarities.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(softmax(similarities), expected, atol=1e-5)
    top = ClassificationResult.top(expected, list('abcdefg'), 3, [None] * 5)
    assert [result.name for result in top] == ['abcdefg'[k] for k in expected.argmax(axis=1)]
    assert all(len(result.names) == 3 and (np.diff(result.probabilities) <= 0).all() for result in top)


def test_pictures(detection, nothing, tmp_path):
    Image.fromarray(pixels).save(tmp_path / 'black.png')
    file = InputImage(str(tmp_path / 'black.png'), str(tmp_path / 'black.png'))
    results = [
        detection,
        nothing,
        ClassificationResult(['cat', 'dog'], np.array([0.7, 0.3]), file),
        SearchResult('a cat', [Match(file, 0.5), Match(detection.image, 0.1)]),
    ]
    for number, result in enumerate(results):
        path = result.save(tmp_path / f'{number}.jpg')
        with Image.open(path) as picture:
            assert picture.format == 'JPEG' and np.asarray(picture).std() > 0 or result is nothing
    with Image.open(tmp_path / '0.jpg') as drawn, Image.open(tmp_path / '1.jpg') as empty:
        assert np.asarray(drawn).sum() > np.asarray(empty).sum() < 1e6  # boxes on black
    paths = Results([detection, nothing]).save(tmp_path / 'folder')
    assert [path.name for path in paths if path.is_file()] == ['0_image_0.png', '1_image_1.png']


def test_show_opens_the_picture(detection, monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, 'show', lambda self: shown.append(self.size))
    detection.show()
    assert len(shown) == 1 and shown[0][0] / shown[0][1] == pytest.approx(60 / 40, rel=0.02)


def test_rows_of_the_others():
    image = InputImage('a.jpg')
    named = ClassificationResult(['cat'], np.array([0.5]), image)
    assert named.rows() == [dict(image='a.jpg', name='cat', probability=0.5)]
    none = ClassificationResult(['cat'], np.array([0.5]), image, 0.25)
    assert none.rows()[1] == dict(image='a.jpg', name='none of these', probability=0.25)
    assert none.to_dict() == dict(image='a.jpg', names=dict(cat=0.5), none=0.25) and none.name == 'cat'
    likely = SearchResult('cat', [Match(image, 0.5, 0.9), Match(InputImage('b.jpg'), 0.4, 0.1)])
    assert [row['probability'] for row in likely.rows()] == [0.9, 0.1]
    assert likely.above(0.9).matches == likely.matches[:1] and likely.above(0.95).matches == []
    with pytest.raises(ValueError, match='threshold'):
        SearchResult('cat', [Match(image, 0.5)]).above(0.1)
    found = SearchResult('cat', [Match(image, 0.5)])
    assert found.to_dict() == dict(query='cat', matches=[dict(rank=1, image='a.jpg', score=0.5)]) and len(found) == 1


def test_embeddings_are_written(tmp_path):
    path = EmbeddingResult([InputImage('a.jpg')], np.ones((1, 4), np.float32)).save(tmp_path / 'new' / 'photos')
    content = np.load(path, allow_pickle=False)
    assert content['names'].tolist() == ['a.jpg'] and content['embeddings'].shape == (1, 4)


def test_a_missing_package_is_told():
    with pytest.raises(ImportError, match=r'kdeov_mm\[api\]'):
        need('no_such_package')
