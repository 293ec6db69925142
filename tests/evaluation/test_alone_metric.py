"""Detection of names that are asked alone, against loops over images and names."""

import itertools
import json

import numpy as np
import pytest
import torch
from lvis import LVIS, LVISEval, LVISResults
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdeov_mm.datasets.general import generalize
from kdeov_mm.evaluation import AloneMetric, OVCocoMetric
from kdeov_mm.evaluation.alone_metric import auroc, false_alarms

CLASSES = ['cat', 'dog', 'fish', 'bird']
GROUPS = ['base', 'base', 'novel', 'novel']


def write(path, images=12, seed=0, lvis=False):
    rng = np.random.default_rng(seed)
    content = dict(
        images=[dict(id=i, width=100, height=100, file_name=f'{i}.jpg') for i in range(1, images + 1)],
        categories=[dict(id=k + 5, name=name) for k, name in enumerate(CLASSES)],
        annotations=[],
    )
    for category in content['categories'] if lvis else ():
        category['frequency'] = 'f'
    for image in content['images']:
        for _ in range(rng.integers(0, 4)):
            x, y, w, h = *rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image['id'],
                    category_id=int(rng.integers(5, 9)),
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
            )
        if lvis:
            here = {ann['category_id'] for ann in content['annotations'] if ann['image_id'] == image['id']}
            image['neg_category_ids'] = [k for k in range(5, 9) if k not in here and rng.random() < 0.6]
            image['not_exhaustive_category_ids'] = sorted(here)[:1] if image['id'] % 2 else []
            del image['file_name']
    path.write_text(json.dumps(content))
    return content


def predict(content, seed=0):
    """Detections near the objects and elsewhere, several of one object, some of wrong classes."""
    rng = np.random.default_rng(seed)
    samples = []
    for image in content['images']:
        boxes, labels = [], []
        for ann in content['annotations']:
            if ann['image_id'] == image['id']:
                x, y, w, h = ann['bbox']
                for _ in range(rng.integers(0, 4)):
                    boxes.append(np.array([x, y, x + w, y + h]) + rng.normal(0, 2, 4))
                    labels.append(ann['category_id'] - 5 if rng.random() < 0.7 else rng.integers(4))
        for _ in range(3):
            x, y = rng.uniform(0, 80, 2)
            boxes.append([x, y, x + 15, y + 15])
            labels.append(rng.integers(4))
        labels, scores = np.array(labels, np.int64), rng.random(len(labels)).astype(np.float32)
        presence = rng.uniform(0, 0.4, 4).astype(np.float32)
        np.maximum.at(presence, labels, scores)
        samples.append(
            dict(
                img_id=image['id'],
                img_path=f'{image["id"]}.jpg',
                presence=torch.tensor(presence),
                pred_instances=dict(bboxes=np.array(boxes, np.float32), labels=labels, scores=scores),
            )
        )
    return samples


def evaluate(path, samples, **options):
    metric = AloneMetric(str(path), **options)
    metric.dataset_meta = dict(classes=CLASSES, groups=GROUPS)
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def ap50_asked_alone(path, samples, label, lvis=False):
    """pycocotools or lvis on one name's detections and the whole file."""
    found = [
        dict(image_id=s['img_id'], category_id=label + 5, bbox=[b[0], b[1], b[2] - b[0], b[3] - b[1]], score=float(v))
        for s in samples
        for b, v, k in zip(*(s['pred_instances'][key].tolist() for key in ('bboxes', 'scores', 'labels')))
        if k == label
    ]
    if lvis:
        truth = LVIS(str(path))
        engine = LVISEval(truth, LVISResults(truth, found, max_dets=-1), iou_type='bbox')
        engine.params.cat_ids = [label + 5]
        engine.evaluate()
        engine.accumulate()
        return engine.eval['precision'][0, :, 0, 0].mean()
    coco = COCO(str(path))
    engine = COCOeval(coco, coco.loadRes(found), 'bbox')
    engine.params.catIds, engine.params.iouThrs = [label + 5], np.array([0.5])
    engine.evaluate()
    engine.accumulate()
    return engine.eval['precision'][0, :, 0, 0, 2].mean()


@pytest.mark.parametrize('lvis', [False, True])
def test_metrics_equal_loops_that_ask_each_name_alone(tmp_path, lvis):
    path = tmp_path / 'annotations.json'
    content = write(path, lvis=lvis)
    samples = predict(content)
    found = evaluate(path, samples, score_thr=0.3, chance=False)
    has = lambda image, label: any(  # noqa: E731
        a['image_id'] == image['id'] and a['category_id'] == label + 5 for a in content['annotations']
    )
    for group, labels in dict(all=range(4), base=(0, 1), novel=(2, 3)).items():
        positive, negative, alarms = [], [], []
        for label in labels:
            wrong = []
            for image, sample in zip(content['images'], samples):
                score = sample['presence'][label].item()
                if has(image, label):
                    positive.append(score)
                elif not lvis or label + 5 in image['neg_category_ids']:
                    negative.append(score)
                    wrong.append(score >= 0.3)
            alarms.append(np.mean(wrong))
        pairs = [(p > n) + (p == n) / 2 for p, n in itertools.product(positive, negative)]
        assert found[f'alone/{group}/false_alarms'] == pytest.approx(np.mean(alarms), abs=1e-9)
        assert found[f'alone/{group}/AUROC'] == pytest.approx(np.mean(pairs), abs=1e-9)
        expected = np.mean([ap50_asked_alone(path, samples, label, lvis) for label in labels])
        assert found[f'alone/{group}/AP50'] == pytest.approx(expected, abs=1e-6)


def test_duplicates_are_counted_on_objects(tmp_path):
    content = dict(
        images=[dict(id=1, width=100, height=100, file_name='1.jpg')],
        categories=[dict(id=k + 5, name=name) for k, name in enumerate(CLASSES)],
        annotations=[
            dict(id=1, image_id=1, category_id=5, bbox=[0, 0, 40, 40], area=1600, iscrowd=0),
            dict(id=2, image_id=1, category_id=6, bbox=[60, 60, 30, 30], area=900, iscrowd=0),
        ],
    )
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    boxes = [[0, 0, 40, 40], [0, 0, 40, 39], [0, 0, 40, 24], [60, 60, 90, 90], [10, 70, 20, 80], [60, 60, 90, 90]]
    sample = dict(
        img_id=1,
        img_path='1.jpg',
        presence=torch.full((4,), 0.9),
        pred_instances=dict(
            bboxes=np.array(boxes, np.float32),
            labels=np.array([0, 1, 2, 1, 0, 3]),
            scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.2], np.float32),
        ),
    )
    found = evaluate(path, [sample], score_thr=0.3)
    assert found['alone/all/duplicates_per_name'] == 2 / 2  # the second and third box on the first object
    assert found['alone/all/duplicates'] == 1 / 2  # the second has the first one's place


def test_a_class_that_is_everywhere_has_no_false_alarms_and_no_auroc(tmp_path):
    presence, absent = np.full((3, 2), 0.5), np.array([[False, True]] * 3)
    rates = false_alarms(presence, absent, 0.3)
    assert np.isnan(rates[0]) and rates[1] == 1
    assert auroc(np.array([0.5]), np.array([0.5, 0.1])) == 0.75


def test_a_model_without_independent_scores_has_no_such_metrics(tmp_path):
    path = tmp_path / 'annotations.json'
    samples = predict(write(path))
    assert evaluate(path, [{key: value for key, value in s.items() if key != 'presence'} for s in samples]) == {}
    del samples[2]['presence']
    with pytest.raises(ValueError, match='presence'):
        evaluate(path, samples)


def test_presence_that_is_not_finite_is_refused(tmp_path):
    path = tmp_path / 'annotations.json'
    samples = predict(write(path))
    samples[2]['presence'][1] = float('nan')
    with pytest.raises(ValueError, match='3.jpg'):
        evaluate(path, samples)


@pytest.mark.parametrize('rule', ['neg_category_ids', 'not_exhaustive_category_ids'])
def test_what_lvis_says_of_an_image_matters(tmp_path, rule):
    path, changed = tmp_path / 'annotations.json', tmp_path / 'changed.json'
    content = write(path, lvis=True)
    samples = predict(content)
    for image in content['images']:
        image[rule] = []
    changed.write_text(json.dumps(content))
    before, after = (evaluate(each, samples, chance=False)['alone/all/AP50'] for each in (path, changed))
    assert before > after if rule == 'not_exhaustive_category_ids' else before < after


def test_an_image_without_lvis_lists_among_others_is_refused(tmp_path):
    path = tmp_path / 'annotations.json'
    content = write(path, lvis=True)
    del content['images'][3]['not_exhaustive_category_ids']
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='image 4'):
        AloneMetric(str(path))


def test_boxes_are_evaluated_once_for_both_metrics(tmp_path, monkeypatch):
    path = tmp_path / 'annotations.json'
    samples = predict(write(path, seed=5), seed=5)
    calls, own = [], OVCocoMetric.evaluate_classes
    monkeypatch.setattr(
        'kdeov_mm.evaluation.box_metric.BoxMetric.evaluate_classes',
        lambda *args: calls.append(args) or own(*args),
    )
    metrics = {}
    for kind in (OVCocoMetric, AloneMetric):
        metric = kind(str(path))
        metric.dataset_meta = dict(classes=CLASSES, groups=GROUPS)
        metric.process({}, samples)
        metrics.update(metric.evaluate(len(samples)))
    assert len(calls) == 2, 'student and chance'
    for role in ('', 'chance/'):
        for group in ('all', 'base', 'novel'):
            assert metrics[f'{role}ov/{group}/AP50'] == metrics[f'{role}alone/{group}/AP50']
    samples[0]['pred_instances']['scores'][:] *= 0.5
    evaluate(path, samples, chance=False)
    assert len(calls) == 3, 'other scores'


def test_a_teacher_without_boxes_has_presence_alone(tmp_path):
    path = tmp_path / 'annotations.json'
    samples = predict(write(path))
    expected = evaluate(path, samples, chance=False)
    teacher = [dict(sample, teacher_presence=sample['presence'] * 0.1) for sample in samples]
    both = evaluate(path, teacher, chance=False)
    keys = {f'alone/{group}/AUROC' for group in ('all', 'base', 'novel')}
    assert both == {**expected, **{f'teacher/{key}': expected[key] for key in keys}}
    for sample in samples:
        del sample['pred_instances']
    assert evaluate(path, samples, chance=False) == {key: expected[key] for key in keys}


@pytest.mark.parametrize('lvis', [False, True])
def test_general_names_are_measured_as_a_file_of_them_would_be(tmp_path, lvis):
    path, general = tmp_path / 'annotations.json', tmp_path / 'general.json'
    content = write(path, images=30, lvis=lvis)
    for category, kind in zip(content['categories'], ('pet', 'pet', 'food', 'food')):
        category['supercategory'] = kind
    if lvis:
        for image in content['images'][::3]:
            here = {ann['category_id'] for ann in content['annotations'] if ann['image_id'] == image['id']}
            image['neg_category_ids'] = [k for k in range(5, 9) if k not in here]
    path.write_text(json.dumps(content))
    names = [category['name'] for category in generalize(content)['categories']]
    assert names == (['animal'] if lvis else ['pet', 'food'])
    general.write_text(json.dumps(generalize(content)))
    rng, samples = np.random.default_rng(0), predict(content)
    for sample in samples:
        sample['presence'] = rng.random(len(names)).astype(np.float32)
        sample['pred_instances']['labels'] = np.minimum(sample['pred_instances']['labels'] // 2, len(names) - 1)
    found = []
    for file, options in ((path, dict(general=True)), (general, {})):
        metric = AloneMetric(str(file), prefix='general', chance=False, **options)
        metric.dataset_meta = dict(classes=names, groups=['level'] * len(names))
        metric.process({}, samples)
        found.append(metric.evaluate(len(samples)))
    assert found[0] == found[1] and found[0]['general/level/AP50'] > 0 and 0 < found[0]['general/level/AUROC'] < 1
