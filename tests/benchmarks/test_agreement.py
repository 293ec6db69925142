"""Comparison of two runs."""

import numpy as np
import pytest

from kdeov_mm.benchmarks.agreement import cosines, overlap, unexplained, unmatched

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 70]], np.float32)


def detections(boxes=BOXES, scores=(0.9, 0.5, 0.4), labels=(0, 1, 0)):
    return dict(boxes=np.asarray(boxes), scores=np.asarray(scores), labels=np.asarray(labels))


def test_order_does_not_matter_and_each_has_one_partner():
    turned = detections(BOXES[::-1], (0.4, 0.5, 0.9), (0, 1, 0))
    assert unmatched(detections(), turned) == 0
    twice = detections(BOXES[[0, 0, 2]], (0.9, 0.9, 0.4), (0, 0, 0))
    assert unmatched(detections(), twice) == unmatched(twice, detections()) == 2
    none = detections(BOXES[:0], (), ())
    assert unmatched(detections(), none) == unmatched(none, detections()) == 3 and unmatched(none, none) == 0


@pytest.mark.parametrize(
    'change, number',
    [
        (dict(scores=(0.9, 0.5, 0.4009)), 0),
        (dict(scores=(0.9, 0.5, 0.402)), 2),
        (dict(labels=(0, 1, 2)), 2),
        (dict(boxes=BOXES + [[0, 0, 0, 0.05]]), 0),
        (dict(boxes=BOXES + [[0, 0, 0, 0.15]]), 4),
    ],
)
def test_bounds(change, number):
    assert unmatched(detections(), detections(**change)) == number


def test_what_rounding_explains():
    full = dict(nms=0.7, max_detections=3)
    assert unexplained(detections(), detections(), **full) == 0
    # The last of a full list is another one
    cut = detections(BOXES + [[0, 0, 0, 0], [0, 0, 0, 0], [20, 0, 20, 0]], (0.9, 0.5, 0.40005))
    assert unmatched(detections(), cut) == 2 and unexplained(detections(), cut, **full) == 0
    assert unexplained(detections(), cut, nms=0.7, max_detections=4) == 2  # of a list with room, none may be absent
    better = detections(cut['boxes'], (0.9, 0.5, 0.402))
    assert unexplained(detections(), better, **full) == 1  # it was in no tie: the first run lacks it
    # Of two that overlap, another one stays
    turned = detections(BOXES + [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4]])
    assert unmatched(detections(), turned) == 2 and unexplained(detections(), turned, nms=0.7, max_detections=9) == 0
    for nms, number in ((200 / 240 + 5e-5, 0), (200 / 240 + 1e-3, 2)):  # around their overlap
        assert unexplained(detections(), turned, nms=nms, max_detections=9) == number
    named = detections(turned['boxes'], labels=(0, 1, 3))
    assert unexplained(detections(), named, nms=0.7, max_detections=9) == 2


def test_overlap_and_cosine_by_hand():
    found = overlap(np.array([[0, 0, 2, 2], [5, 5, 5, 9]]), np.array([[1, 1, 3, 3], [5, 5, 5, 9], [7, 7, 8, 8]]))
    np.testing.assert_allclose(found, [[1 / 7, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(cosines(np.array([[3.0, 4], [1, 0]]), np.array([[4.0, 3], [0, 2]])), [0.96, 0])
