"""Against the lvis package, which reads the whole file and all detections at once."""

import copy
import importlib.util
import json

import numpy as np
import pytest
from lvis import LVIS, LVISEval, LVISResults

from kdeov_mm.evaluation import OVCocoMetric, OVLVISMetric

IDS = [7, 3, 12, 5, 9, 1, 20, 14, 2, 30, 8, 17]  # not in the order of the names
SILENT, EMPTY, CROWDED = 4, 5, 6  # no prediction; no object; more than 300 predictions
needs_faster = pytest.mark.skipif(
    importlib.util.find_spec('faster_coco_eval') is None, reason='faster-coco-eval is not installed'
)
ENGINES = ['lvis', pytest.param('faster-coco-eval', marks=needs_faster)]


@pytest.fixture(scope='module')
def federated(tmp_path_factory):
    """Generated annotations and predictions with every awkward case."""
    rng = np.random.default_rng(0)
    categories = [
        dict(id=i, name=f'thing_{i}', frequency='rcf'[n % 3], synonyms=[f'thing {i}']) for n, i in enumerate(IDS)
    ]
    absent = IDS[-1]  # no annotation: a negative only
    images, annotations, samples = [], [], []
    for img_id in range(1, 41):
        width, height = rng.integers(80, 200, 2).tolist()
        kinds = rng.permutation(IDS[:-1]).tolist()
        positive, negative = kinds[:4], kinds[4:7] + [absent]
        images.append(
            dict(
                id=img_id,
                width=width,
                height=height,
                neg_category_ids=negative,
                not_exhaustive_category_ids=positive[:1] if img_id % 2 else [],
                coco_url=f'http://images.cocodataset.org/val2017/{img_id:012}.jpg',
            )
        )
        boxes, labels = [], []
        for category in positive if img_id != EMPTY else []:
            for _ in range(rng.integers(1, 4)):
                w, h = rng.uniform(5, 60, 2)
                x, y = rng.uniform(0, [width - w, height - h])
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=img_id,
                        category_id=category,
                        bbox=[x, y, w, h],
                        area=w * h,
                        segmentation=[[x, y, x + w, y, x + w, y + h]],
                    )
                )
                for _ in range(rng.integers(1, 4)):
                    boxes.append(np.array([x, y, x + w, y + h]) + rng.normal(0, 0.1, 4) * [w, h, w, h])
                    labels.append(category if rng.random() < 0.8 else rng.choice(IDS))
        corners = rng.random((450 if img_id == CROWDED else 30, 2, 2)) * [width, height]
        boxes += list(np.concatenate([corners.min(1), corners.max(1)], 1))
        labels += rng.choice(IDS, len(corners)).tolist()
        if img_id == SILENT:
            boxes, labels = [], []
        order = rng.permutation(len(boxes))
        samples.append(
            dict(
                img_id=img_id,
                img_path=f'{img_id}.jpg',
                pred_instances=dict(
                    bboxes=np.array(boxes, np.float32).reshape(-1, 4)[order],
                    labels=np.array([IDS.index(i) for i in labels], np.int64)[order],
                    scores=rng.random(len(boxes)).round(1).astype(np.float32),
                ),
            )
        )  # eleven values: many ties
    annotations[7]['area'] = 0.0
    samples[8]['pred_instances']['bboxes'][:9, 2] = samples[8]['pred_instances']['bboxes'][:9, 0]  # no width
    path = tmp_path_factory.mktemp('lvis') / 'lvis_v1_val.json'
    path.write_text(json.dumps(dict(images=images, categories=categories, annotations=annotations)))
    classes = [f'thing_{i}' for i in IDS]
    groups = ['novel' if category['frequency'] == 'r' else 'base' for category in categories]
    return str(path), dict(classes=classes, groups=groups), samples


def run(ann_file, meta, samples, **kwargs):
    metric = OVLVISMetric(ann_file, **{**dict(chance=False), **kwargs})
    metric.dataset_meta = meta
    metric.process(None, samples)
    return metric, metric.evaluate(len(samples))


def reference(ann_file, samples, max_dets=300, per_class=None):
    """The package's own numbers, and AP of each class; at most ``per_class`` detections of each."""
    truth = LVIS(ann_file)
    detections = [
        dict(
            image_id=sample['img_id'],
            category_id=IDS[label],
            score=float(score),
            bbox=[float(x1), float(y1), float(x2) - float(x1), float(y2) - float(y1)],
        )
        for sample in samples
        for (x1, y1, x2, y2), score, label in zip(
            *(sample['pred_instances'][key] for key in ('bboxes', 'scores', 'labels'))
        )
    ]
    if per_class is not None:
        detections = [
            item
            for category in IDS
            for item in sorted(
                (item for item in detections if item['category_id'] == category), key=lambda item: -item['score']
            )[:per_class]
        ]
    engine = LVISEval(truth, LVISResults(truth, detections, max_dets=max_dets), iou_type='bbox')
    engine.run()
    precision = engine.eval['precision'][..., 0]
    of_class = {category: precision[:, :, i].mean() for i, category in enumerate(engine.params.cat_ids)}
    return {key: engine.results[key] for key in ('AP', 'AP50', 'AP75', 'APr', 'APc', 'APf')}, of_class


@pytest.mark.parametrize('engine', ENGINES)
def test_both_protocols_equal_the_lvis_package(federated, engine):
    ann_file, meta, samples = federated
    metric, metrics = run(ann_file, meta, samples, engine=engine, max_dets_per_class=60)
    standard, of_class = reference(ann_file, samples)
    fixed, of_class_fixed = reference(ann_file, samples, max_dets=-1, per_class=60)
    unlimited, _ = reference(ann_file, samples, max_dets=-1)
    assert len({standard['AP'], fixed['AP'], unlimited['AP']}) == 3, 'each limit must matter'
    assert metrics == pytest.approx(
        {
            f'ov_lvis/{protocol}/{name}': value
            for protocol, values in dict(standard=standard, fixed=fixed).items()
            for name, value in values.items()
        },
        abs=1e-6,
    )
    assert all(0.02 < value < 0.95 for value in metrics.values())
    for category, row in zip(IDS, metric.per_class):
        if of_class[category] < 0:
            assert category == IDS[-1] and np.isnan(row).all()
        else:
            assert row[[0, 3]] == pytest.approx([of_class[category], of_class_fixed[category]], abs=1e-6)


@pytest.mark.parametrize('rule', ['neg_category_ids', 'not_exhaustive_category_ids'])
@pytest.mark.parametrize('engine', ENGINES)
def test_each_federated_rule_matters(federated, tmp_path, rule, engine):
    ann_file, meta, samples = federated
    content = json.loads(open(ann_file).read())
    for image in content['images']:
        image[rule] = []
    without = tmp_path / 'without.json'
    without.write_text(json.dumps(content))
    _, metrics = run(str(without), meta, samples, protocols='standard', engine=engine)
    expected, _ = reference(str(without), samples)
    assert metrics == pytest.approx({f'ov_lvis/standard/{key}': value for key, value in expected.items()}, abs=1e-6)
    assert abs(expected['AP'] - reference(ann_file, samples)[0]['AP']) > 1e-3


def test_the_limits_are_those_of_the_protocols(federated):
    ann_file, meta, samples = federated
    _, metrics = run(ann_file, meta, samples, protocols=['fixed'])
    assert metrics['ov_lvis/fixed/AP'] == pytest.approx(reference(ann_file, samples, -1, 10000)[0]['AP'], abs=1e-6)
    _, metrics = run(ann_file, meta, samples, protocols=['standard'], max_dets=20)
    assert metrics['ov_lvis/standard/AP'] == pytest.approx(reference(ann_file, samples, 20)[0]['AP'], abs=1e-6)
    assert not any('fixed' in key for key in metrics)


def test_only_evaluated_images_and_order_does_not_matter(federated):
    ann_file, meta, samples = federated
    _, metrics = run(ann_file, meta, samples, protocols='standard')
    _, again = run(ann_file, meta, samples[::-1], protocols='standard')
    assert metrics == again
    _, some = run(ann_file, meta, samples[:20], protocols='standard')
    content = json.loads(open(ann_file).read())
    assert some['ov_lvis/standard/AP'] != metrics['ov_lvis/standard/AP']
    content['images'] = content['images'][:20]
    content['annotations'] = [item for item in content['annotations'] if item['image_id'] <= 20]
    half = f'{ann_file}.half'
    open(half, 'w').write(json.dumps(content))
    assert some['ov_lvis/standard/AP'] == pytest.approx(reference(half, samples[:20])[0]['AP'], abs=1e-6)


def test_chance_and_table(federated, tmp_path):
    metric, metrics = run(*federated, chance=True)
    assert 0 < metrics['chance/ov_lvis/fixed/AP'] < 0.5 * metrics['ov_lvis/fixed/AP']
    metric.examples = []
    (path,) = metric.draw(tmp_path)
    lines = path.read_text().splitlines()
    assert path.name == 'ov_lvis_per_class.csv' and len(lines) == 13
    assert lines[0] == ('class,group,standard/AP,standard/AP50,standard/AP75,fixed/AP,fixed/AP50,fixed/AP75')
    assert lines[-1] == 'thing_17,base,,,,,,'


def test_no_prediction_at_all(federated):
    ann_file, meta, samples = federated
    _, metrics = run(
        ann_file, meta, [dict(sample, pred_instances=samples[SILENT - 1]['pred_instances']) for sample in samples]
    )
    assert len(metrics) == 12 and set(metrics.values()) == {0.0}


def test_bad_input(federated, tmp_path, monkeypatch):
    ann_file, meta, samples = federated
    with pytest.raises(ValueError, match="protocols.*'exact'.*'standard', 'fixed'"):
        OVLVISMetric(ann_file, protocols='exact')
    with pytest.raises(ValueError, match="engine.*'pycocotools'.*'lvis', 'faster-coco-eval'"):
        OVLVISMetric(ann_file, engine='pycocotools')
    content = json.loads(open(ann_file).read())

    def written(change):
        changed = copy.deepcopy(content)
        change(changed)
        path = tmp_path / 'changed.json'
        path.write_text(json.dumps(changed))
        return str(path)

    with pytest.raises(ValueError, match=r"images\[0\].*'neg_category_ids'"):
        OVLVISMetric(written(lambda data: data['images'][0].pop('neg_category_ids')))
    with pytest.raises(ValueError, match="frequency.*'thing_7'.*'f', 'c', 'r'.*'often'"):
        OVLVISMetric(written(lambda data: data['categories'][0].update(frequency='often')))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    for metric in (OVLVISMetric, OVCocoMetric):
        with pytest.raises(ValueError, match='pip install faster-coco-eval'):
            metric(ann_file, engine='faster-coco-eval')


@needs_faster
def test_crowds_are_not_for_the_faster_engine(federated, tmp_path):
    content = json.loads(open(federated[0]).read())
    content['annotations'][0]['iscrowd'] = 1
    path = tmp_path / 'crowd.json'
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="1 .*iscrowd.*engine='lvis'"):
        OVLVISMetric(str(path), engine='faster-coco-eval')
