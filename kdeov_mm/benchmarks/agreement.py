"""Agreement of two runs of one model."""

import numpy as np


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the cosine similarity ``[N]`` of each row of ``[N, D]`` with the same row of ``[N, D]``."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


def unmatched(first: dict, second: dict, iou: float = 0.99, score: float = 1e-3) -> int:
    """Count the detections of one image in ``first`` and ``second`` that have no partner in the other.

    Partners have the same label, boxes whose intersection over union is at least ``iou``, and scores that differ by at
    most ``score``. Each detection has at most one partner: the first that fits, in the given order.

    Args:
        first, second: ``boxes`` ``[M, 4]``, ``scores`` ``[M]`` and ``labels`` ``[M]``.
    """
    return sum(int(alone.sum()) for alone in without_partner(first, second, iou, score))


def unexplained(
    first: dict, second: dict, nms: float, max_detections: int, score_threshold: float = 0.0, tie: float = 1e-4
) -> int:
    """Count the detections without a partner, see :func:`unmatched`, that rounding does not explain.

    Rounding changes the order of detections with almost equal scores. It then decides which of two overlapping boxes is
    suppressed, and which detection a full list leaves out. So rounding explains a missing detection in three cases:

    - The other run has a box of the same label with an overlap above ``nms`` and at least the same score.
    - The other run's list is full, and all its scores are at least the same.
    - The detection's score is the minimum score.

    Scores and overlaps within ``tie`` count as the same.

    Args:
        first, second: See :func:`unmatched`.
        nms: IoU threshold of the non-maximum suppression.
        max_detections: Maximum number of detections of an image.
        score_threshold: Minimum score of a detection, ``test_cfg.score_thr``.
        tie: Maximum difference of scores and overlaps that rounding explains.
    """
    count = 0
    for alone, own, other in zip(without_partner(first, second), (first, second), (second, first)):
        not_worse = other['scores'][None] >= own['scores'][:, None] - tie
        same = (overlap(own['boxes'], other['boxes']) > nms - tie) & (own['labels'][:, None] == other['labels'][None])
        cut = not_worse.all(axis=1) & (len(other['scores']) >= max_detections)
        count += int((alone & ~cut & (own['scores'] > score_threshold + tie) & ~(same & not_worse).any(axis=1)).sum())
    return count


def without_partner(first: dict, second: dict, iou: float = 0.99, score: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Return which detections have no partner, ``[M]`` and ``[N]``; see :func:`unmatched`."""
    fits = overlap(first['boxes'], second['boxes']) >= iou
    fits &= np.abs(first['scores'][:, None] - second['scores'][None]) <= score
    fits &= first['labels'][:, None] == second['labels'][None]
    alone = np.ones(len(first['boxes']), bool), np.ones(len(second['boxes']), bool)
    for index, row in enumerate(fits):
        if row.any():
            partner = row.argmax()
            alone[0][index] = alone[1][partner] = fits[:, partner] = False
    return alone


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU ``[M, N]`` of boxes ``[M, 4]`` and ``[N, 4]``; it is 1 for two empty boxes in one place."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (bottom_right - top_left).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    same = np.abs(first[:, None] - second[None]).max(axis=2) < 1e-3
    return np.where(union > 0, shared / np.where(union > 0, union, 1), same)
