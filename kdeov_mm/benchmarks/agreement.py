"""How well two runs of one model agree."""

import numpy as np


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of the rows of ``[N, D]`` and ``[N, D]``: ``[N]``."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


def unmatched(first: dict, second: dict, iou: float = 0.99, score: float = 1e-3) -> int:
    """Detections of one image in ``first`` or ``second`` without a partner in the other.

    Partners have one label, boxes whose intersection over union is at least ``iou`` and scores that differ by at most
    ``score``; each has one partner, the first that fits in the order given.

    Args:
        first, second: ``boxes`` ``[M, 4]``, ``scores`` ``[M]`` and ``labels`` ``[M]``.
    """
    return sum(int(alone.sum()) for alone in without_partner(first, second, iou, score))


def unexplained(
    first: dict, second: dict, nms: float, max_detections: int, min_score: float = 0.0, tie: float = 1e-4
) -> int:
    """Detections without a partner, see :func:`unmatched`, that rounding does not explain.

    Where two scores differ by rounding only, their order may change. Then of two boxes that overlap, another one
    suppresses the other, and of two at the end of a full list, another one is cut off. So a detection may be absent
    from the other run if there a box of its label overlaps it by more than ``nms``, or the list is full, and what
    stands there has its score or a better one; or if its score is the least that counts. An overlap that is ``nms``
    but for rounding suppresses in one run and not in the other.

    Args:
        first, second: See :func:`unmatched`.
        nms: The threshold of suppression.
        max_detections: Detections of an image at most.
        min_score: Score below which there is no detection.
        tie: How much better, by rounding, its score may be, and how much less the overlap.
    """
    count = 0
    for alone, own, other in zip(without_partner(first, second), (first, second), (second, first)):
        not_worse = other['scores'][None] >= own['scores'][:, None] - tie
        same = (overlap(own['boxes'], other['boxes']) > nms - tie) & (own['labels'][:, None] == other['labels'][None])
        cut = not_worse.all(axis=1) & (len(other['scores']) >= max_detections)
        count += int((alone & ~cut & (own['scores'] > min_score + tie) & ~(same & not_worse).any(axis=1)).sum())
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
    """Intersection over union of boxes ``[M, 4]`` and ``[N, 4]``: ``[M, N]``; of two empty boxes in one place, 1."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (bottom_right - top_left).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    same = np.abs(first[:, None] - second[None]).max(axis=2) < 1e-3
    return np.where(union > 0, shared / np.where(union > 0, union, 1), same)
