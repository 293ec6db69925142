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
    fits = overlap(first['boxes'], second['boxes']) >= iou
    fits &= np.abs(first['scores'][:, None] - second['scores'][None]) <= score
    fits &= first['labels'][:, None] == second['labels'][None]
    pairs = 0
    for row in fits:
        partner = row.argmax() if row.any() else None
        if partner is not None:
            pairs, fits[:, partner] = pairs + 1, False
    return len(first['boxes']) + len(second['boxes']) - 2 * pairs


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes ``[M, 4]`` and ``[N, 4]``: ``[M, N]``; of two empty boxes in one place, 1."""
    top_left = np.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (bottom_right - top_left).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    same = np.abs(first[:, None] - second[None]).max(axis=2) < 1e-3
    return np.where(union > 0, shared / np.where(union > 0, union, 1), same)
