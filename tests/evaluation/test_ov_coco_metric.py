import contextlib
import importlib.util
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdeov_mm.evaluation import OVCocoMetric

needs_faster = pytest.mark.skipif(
    importlib.util.find_spec('faster_coco_eval') is None, reason='faster-coco-eval is not installed'
)
ENGINES = ['pycocotools', pytest.param('faster-coco-eval', marks=needs_faster)]


@pytest.fixture(scope='module')
def real(coco_mini, tmp_path_factory):
    """Real annotations with an emptied image, and predictions with every awkward case."""
    data = json.loads((coco_mini / 'annotations/instances_val2017.json').read_text())
    empty, silent, crowded = (image['id'] for image in data['images'][3:6])
    data['annotations'] = [ann for ann in data['annotations'] if ann['image_id'] != empty]
    ann_file = tmp_path_factory.mktemp('coco') / 'instances.json'
    ann_file.write_text(json.dumps(data))
    assert any(ann['iscrowd'] for ann in data['annotations'])
    names = [category['name'] for category in data['categories']]
    kept = [name for i, name in enumerate(names) if i % 6 != 5][::-1]  # not in the file's order
    groups = [('base', 'novel', 'base')[i % 3] for i in range(len(kept))]
    name_of = {category['id']: category['name'] for category in data['categories']}
    rng = np.random.default_rng(0)
    samples = []
    for image in data['images']:
        boxes, labels = [], []
        for ann in data['annotations']:
            if ann['image_id'] == image['id'] and name_of[ann['category_id']] in kept:
                x, y, w, h = ann['bbox']
                for _ in range(rng.integers(1, 4)):
                    jitter = rng.normal(0, 0.08, 4) * [w, h, w, h]
                    boxes.append(np.array([x, y, x + w, y + h]) + jitter)
                    wrong = rng.random() < 0.2
                    labels.append(rng.integers(len(kept)) if wrong else kept.index(name_of[ann['category_id']]))
        extra = {crowded: 450, silent: 0}.get(image['id'], 5)
        corners = rng.random((extra, 2, 2)) * [image['width'], image['height']]
        boxes += list(np.concatenate([corners.min(1), corners.max(1)], 1))
        labels += (
            [0] * 300 + list(rng.integers(len(kept), size=150))
            if image['id'] == crowded
            else list(rng.integers(len(kept), size=extra))
        )
        if image['id'] == silent:
            boxes, labels = [], []
        samples.append(
            dict(
                img_id=image['id'],
                img_path=image['file_name'],
                pred_instances=dict(
                    bboxes=np.array(boxes, np.float32).reshape(-1, 4),
                    labels=np.array(labels, np.int64),
                    scores=rng.random(len(boxes)).round(1).astype(np.float32),
                ),
            )
        )  # ten values: many ties
    return str(ann_file), dict(classes=kept, groups=groups), samples


def run(ann_file, meta, samples, **kwargs):
    metric = OVCocoMetric(ann_file, **kwargs)
    metric.dataset_meta = meta
    metric.process(None, samples)
    return metric, metric.evaluate(len(samples))


def pycocotools_stats(ann_file, meta, samples, names, max_dets=100):
    """AP and AP50 as pycocotools itself sums them up over the named classes."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(ann_file)
        ids = {category['name']: category['id'] for category in coco.dataset['categories']}
        detections = [
            dict(
                image_id=sample['img_id'],
                category_id=ids[meta['classes'][label]],
                score=float(score),
                bbox=[float(box[0]), float(box[1]), float(box[2]) - float(box[0]), float(box[3]) - float(box[1])],
            )
            for sample in samples
            for box, score, label in zip(*(sample['pred_instances'][key] for key in ('bboxes', 'scores', 'labels')))
        ]
        engine = COCOeval(coco, coco.loadRes(detections), 'bbox')
        engine.params.catIds = [ids[name] for name in names]
        engine.params.maxDets = [1, 10, max_dets]
        engine.evaluate()
        engine.accumulate()
        engine.summarize()
    precision = engine.eval['precision'][:, :, :, 0, 2]  # summarize() knows 100 detections only
    return np.array(
        [
            engine.stats[0] if max_dets == 100 else precision[precision > -1].mean(),
            engine.stats[1] if max_dets == 100 else precision[0][precision[0] > -1].mean(),
        ]
    )


@pytest.mark.parametrize('engine', ENGINES)
def test_each_group_and_class_equals_pycocotools(real, engine):
    ann_file, meta, samples = real
    metric, metrics = run(ann_file, meta, samples, engine=engine, chance=False)
    for group in ('all', 'base', 'novel'):
        names = [name for name, of in zip(meta['classes'], meta['groups']) if group in ('all', of)]
        expected = pycocotools_stats(ann_file, meta, samples, names)
        assert 0.05 < expected[0] < expected[1] < 0.95
        assert [metrics[f'ov/{group}/AP'], metrics[f'ov/{group}/AP50']] == pytest.approx(expected, abs=1e-6)
    for name, ap in list(zip(meta['classes'], metric.per_class))[::3]:  # a third, for speed
        expected = pycocotools_stats(ann_file, meta, samples, [name])
        assert (np.isnan(ap).all() and (expected == -1).all()) or ap == pytest.approx(expected, abs=1e-6)


def test_max_dets(real):
    ann_file, meta, samples = real
    values = []
    for max_dets in (1, 100, 300):
        _, metrics = run(ann_file, meta, samples, max_dets=max_dets, chance=False)
        values.append(metrics['ov/all/AP'])
        if max_dets > 1:
            expected = pycocotools_stats(ann_file, meta, samples, meta['classes'], max_dets)[0]
            assert values[-1] == pytest.approx(expected, abs=1e-6)
    assert values[0] != values[1]


def test_chance_is_low_seeded_and_independent_of_order(real):
    ann_file, meta, samples = real
    _, metrics = run(ann_file, meta, samples)
    _, again = run(ann_file, meta, samples[::-1])
    _, other = run(ann_file, meta, samples, seed=1)
    assert metrics == again
    assert metrics['ov/all/AP50'] == other['ov/all/AP50']
    assert metrics['chance/ov/all/AP50'] < 0.25 * metrics['ov/all/AP50']
    assert metrics['chance/ov/all/AP50'] != other['chance/ov/all/AP50']
    _, without = run(ann_file, meta, samples, chance=False)
    assert not any(key.startswith('chance') for key in without)


@pytest.fixture
def small(tmp_path):
    """Three classes, of which one has a crowd only; two images, of which one is empty."""
    data = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=100, height=100) for i in (1, 2)],
        categories=[dict(id=i, name=name) for i, name in ((7, 'a'), (3, 'b'), (5, 'c'), (9, 'unused'))],
        annotations=[
            dict(id=i, image_id=1, category_id=category, bbox=box, area=box[2] * box[3], iscrowd=crowd)
            for i, (category, box, crowd) in enumerate(
                [(7, [0, 0, 10, 10], 0), (3, [50, 50, 20, 20], 0), (5, [0, 50, 40, 40], 1), (9, [70, 0, 20, 20], 0)], 1
            )
        ],
    )
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(data))
    pred = dict(
        bboxes=np.array([[0, 0, 10, 10], [50, 50, 70, 70]], np.float32),
        scores=np.array([0.9, 0.8], np.float32),
        labels=np.array([0, 1]),
    )
    none = dict(bboxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32), labels=np.zeros(0, np.int64))
    samples = [
        dict(img_id=1, img_path='1.jpg', pred_instances=pred),
        dict(img_id=2, img_path='2.jpg', pred_instances=none),
    ]
    return str(path), dict(classes=['a', 'b', 'c'], groups=['base', 'base', 'novel']), samples


def test_perfect_predictions_and_a_group_without_ground_truth(small):
    metric, metrics = run(*small, chance=False)
    assert metrics == pytest.approx({'ov/all/AP': 1, 'ov/all/AP50': 1, 'ov/base/AP': 1, 'ov/base/AP50': 1})
    assert np.isnan(metric.per_class[2]).all()


@pytest.mark.parametrize('engine', ENGINES)
def test_annotation_ids_may_start_at_zero(small, engine):
    """To pycocotools a match with annotation 0 is none."""
    ann_file, meta, samples = small
    with open(ann_file) as file:
        data = json.load(file)
    for annotation in data['annotations']:
        annotation['id'] -= 1
    with open(ann_file, 'w') as file:
        json.dump(data, file)
    _, metrics = run(ann_file, meta, samples, chance=False, engine=engine)
    assert metrics['ov/all/AP'] == pytest.approx(1)


def test_names_compete(small):
    small[2][0]['pred_instances']['labels'] = np.array([1, 0])
    _, metrics = run(*small, chance=False)
    assert metrics['ov/all/AP50'] == 0


def test_no_prediction_at_all(small):
    small[2][0]['pred_instances'] = small[2][1]['pred_instances']
    _, metrics = run(*small)
    assert metrics['ov/all/AP'] == metrics['chance/ov/all/AP'] == 0


def test_bad_input(small, tmp_path):
    ann_file, meta, samples = small
    with pytest.raises(FileNotFoundError, match=r'nothing\.json'):
        OVCocoMetric(str(tmp_path / 'nothing.json'))
    (tmp_path / 'broken.json').write_text('{"images": [')
    with pytest.raises(ValueError, match=r'broken\.json'):
        OVCocoMetric(str(tmp_path / 'broken.json'))
    (tmp_path / 'half.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=r'half\.json.*"categories"'):
        OVCocoMetric(str(tmp_path / 'half.json'))
    with pytest.raises(ValueError, match='zebra'):
        run(ann_file, dict(classes=['a', 'zebra'], groups=['base', 'novel']), samples)
    with pytest.raises(ValueError, match=r'\b77\b'):
        run(ann_file, meta, [dict(samples[0], img_id=77)])
    with pytest.raises(ValueError, match=r'1\.jpg.*score'):
        run(
            ann_file,
            meta,
            [dict(samples[0], pred_instances=dict(samples[0]['pred_instances'], scores=np.array([0.9, np.nan])))],
        )
    with pytest.raises(ValueError, match=r'1\.jpg.*label.*\[0, 3\)'):
        run(
            ann_file,
            meta,
            [dict(samples[0], pred_instances=dict(samples[0]['pred_instances'], labels=np.array([0, 3])))],
        )
    with pytest.raises(ValueError, match=r'\b1 images\b.*\b3 classes\b'):
        run(ann_file, meta, samples[1:])


def test_per_class_table(small, tmp_path):
    metric, _ = run(*small, chance=False)
    metric.examples = []
    assert [path.name for path in metric.draw(tmp_path)] == ['ov_per_class.csv']
    assert (tmp_path / 'ov_per_class.csv').read_text().splitlines() == [
        'class,group,AP,AP50',
        'a,base,1.000000,1.000000',
        'b,base,1.000000,1.000000',
        'c,novel,,',
    ]
