"""Calibration error against loops over detections and bins."""

import numpy as np
import pytest

from kdeov_mm.evaluation.reliability import BINS, MIN_SCORE, Reliability, brier, find_right
from test_alone_metric import evaluate, predict, write


def expected_error(scores, right, bins):
    error = 0.0
    for i in range(bins):
        members = [(score, hit) for score, hit in zip(scores, right) if min(int(score * bins), bins - 1) == i]
        if members:
            gap = sum(score for score, _ in members) / len(members) - sum(hit for _, hit in members) / len(members)
            error += len(members) / len(scores) * abs(gap)
    return error


def iou(a, b):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def loop_right(boxes, labels, truth, truth_labels):
    taken, right = set(), []
    for box, label in zip(boxes, labels):
        pairs = [
            (iou(box, other), j)
            for j, other in enumerate(truth)
            if truth_labels[j] == label and j not in taken and iou(box, other) >= 0.5
        ]
        if pairs:
            taken.add(max(pairs)[1])
        right.append(bool(pairs))
    return right


def instances(boxes, labels, crowd=0):
    return [dict(bbox=box, bbox_label=label, ignore_flag=crowd) for box, label in zip(boxes, labels)]


@pytest.mark.parametrize('bins', [1, 7, BINS])
def test_the_error_is_that_of_a_loop(bins):
    rng = np.random.default_rng(0)
    scores = np.append(rng.random(200), [0.0, 1.0])
    right = rng.random(202) < scores**2
    assert Reliability.calculate(scores, right, bins).error == pytest.approx(
        expected_error(scores, right, bins), abs=1e-12
    )
    assert brier(scores, right) == pytest.approx(sum((s - r) ** 2 for s, r in zip(scores, right)) / 202, abs=1e-12)


def test_perfect_scores_have_no_error_and_no_detections_have_none():
    assert Reliability.calculate(np.array([1.0, 1.0, 0.0]), np.array([True, True, False])).error == 0
    assert np.isnan(Reliability.calculate(np.array([]), np.array([], bool)).error) and np.isnan(brier([], []))


def test_detections_are_matched_as_a_loop_does():
    rng = np.random.default_rng(1)
    for _ in range(30):
        corners = rng.uniform(0, 60, (6, 2))
        truth = np.concatenate([corners, corners + rng.uniform(10, 40, (6, 2))], axis=1)
        boxes = truth[rng.integers(6, size=20)] + rng.normal(0, 3, (20, 4))
        labels, truth_labels = rng.integers(2, size=20), rng.integers(2, size=6)
        right, ignored = find_right(boxes, labels, instances(truth, truth_labels))
        assert right.tolist() == loop_right(boxes, labels, truth, truth_labels) and not ignored.any()


def test_detections_of_a_crowd_are_ignored():
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10]], float)
    right, ignored = find_right(boxes, np.array([0, 0, 1]), instances([[0, 0, 40, 40]], [0], crowd=1))
    assert right.tolist() == [False] * 3 and ignored.tolist() == [True, False, False]


@pytest.mark.parametrize('lvis', [False, True])
def test_reports_have_the_error_of_each_group(tmp_path, lvis):
    path = tmp_path / 'annotations.json'
    content = write(path, lvis=lvis)
    samples = predict(content)
    found = evaluate(path, samples, chance=False)
    scores, hits, classes = [], [], []
    for image, sample in zip(content['images'], samples):
        truth = [ann for ann in content['annotations'] if ann['image_id'] == image['id']]
        corners = [[x, y, x + w, y + h] for x, y, w, h in (ann['bbox'] for ann in truth)]
        own = [ann['category_id'] - 5 for ann in truth]
        order = np.argsort(-sample['pred_instances']['scores'])
        boxes, values, labels = (sample['pred_instances'][key][order] for key in ('bboxes', 'scores', 'labels'))
        for score, hit, label in zip(values, loop_right(boxes, labels, corners, own), labels):
            known = not lvis or label in own or label + 5 in image['neg_category_ids']
            partly = lvis and label + 5 in image['not_exhaustive_category_ids'] and not hit
            if score >= MIN_SCORE and known and not partly:
                scores.append(float(score)), hits.append(hit), classes.append(label)
    for group, labels in dict(all=range(4), base=(0, 1), novel=(2, 3)).items():
        keep = [i for i, label in enumerate(classes) if label in labels]
        expected = expected_error([scores[i] for i in keep], [hits[i] for i in keep], BINS)
        assert found[f'alone/{group}/ECE'] == pytest.approx(expected, abs=1e-7)


def test_false_alarms_are_at_the_models_threshold_unless_another_is_given(tmp_path):
    path = tmp_path / 'annotations.json'
    samples = predict(write(path))
    raised = [dict(sample, score_threshold=0.8) for sample in samples]
    of = lambda samples, **options: evaluate(path, samples, chance=False, **options)['alone/all/false_alarms']  # noqa: E731
    assert of(raised) == of(samples, score_thr=0.8) != of(samples) == of(raised, score_thr=0.3)
