"""Reliability of detection scores: which detections are right, and how far scores are from the fraction that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 15
# Minimum score of detections in reports, and in the fit of a calibration. Lower ones are many and nearly always wrong,
# and would hide the others.
MIN_SCORE = 0.05
MATCH = 0.5  # intersection over union of a box and the object that it shows


@dataclass
class Reliability:
    """Compares scores with the fraction of detections that are right, in bins of equal width.

    Attributes:
        count: Detections in each bin, ``[B]``.
        score: Mean score of each bin, in [0, 1]; NaN in an empty bin.
        precision: Fraction of each bin's detections that are right; NaN in an empty bin.
    """

    count: np.ndarray
    score: np.ndarray
    precision: np.ndarray

    @classmethod
    def calculate(cls, scores: np.ndarray, right: np.ndarray, bins: int = BINS) -> 'Reliability':
        """Sort detections into bins.

        Args:
            scores: Scores of M detections, in [0, 1].
            right: Which of them are right, bool ``[M]``.
            bins: Number of bins; 1 belongs to the last.
        """
        scores = np.asarray(scores, float)
        index = np.minimum((scores * bins).astype(int), bins - 1)
        count, total, hits = (np.bincount(index, weights, bins) for weights in (None, scores, np.asarray(right, float)))
        with np.errstate(invalid='ignore'):
            return cls(count, total / count, hits / count)

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al. 2017): mean of |score - precision|, weighted by detections.

        NaN without detections.
        """
        if not self.count.any():
            return float('nan')
        filled = self.count > 0
        gap = np.abs(self.score - self.precision)[filled]
        return float(gap @ self.count[filled] / self.count.sum())


def brier(scores: np.ndarray, right: np.ndarray) -> float:
    """Compute the mean squared difference of scores and truth (Brier 1950); NaN without detections."""
    return float(np.mean((np.asarray(scores, float) - right) ** 2)) if len(scores) else float('nan')


def find_right(boxes: np.ndarray, labels: np.ndarray, instances: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of one image with its objects, as COCO does at an intersection over union of 0.5.

    Each detection, best first, takes the nearest free object of its class. One without an object may show a crowd.

    Args:
        boxes: Detections x1, y1, x2, y2, ``[M, 4]``, best first.
        labels: Their classes, ``[M]``.
        instances: Objects as in MMDetection's data sets: ``bbox`` x1, y1, x2, y2, ``bbox_label``, and ``ignore_flag``,
            which is 1 for a crowd.

    Returns:
        tuple: Which detections are right, and which are ignored because they show a crowd, bool ``[M]`` each.
    """
    boxes, truth = boxes.astype(float), np.array([item['bbox'] for item in instances], float).reshape(-1, 4)
    truth_labels = np.array([item['bbox_label'] for item in instances], int)
    crowd = np.array([item['ignore_flag'] for item in instances], bool)
    right, ignored, free = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool), ~crowd
    for i, (box, label) in enumerate(zip(boxes, labels)):
        same = np.flatnonzero(truth_labels == label)
        if not len(same):
            continue
        overlap = overlaps(box, truth[same], crowd[same])
        best = max(same[free[same] & (overlap >= MATCH)], key=lambda j: overlap[same == j][0], default=None)
        if best is not None:
            right[i], free[best] = True, False
        else:
            ignored[i] = (crowd[same] & (overlap >= MATCH)).any()
    return right, ignored


def overlaps(box: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Compute the intersection of a box ``[4]`` with objects ``[N, 4]``, over the union, or over the box for crowds."""
    shared = np.clip(np.minimum(box[2:], truth[:, 2:]) - np.maximum(box[:2], truth[:, :2]), 0, None).prod(1)
    area, areas = (box[2:] - box[:2]).prod(), (truth[:, 2:] - truth[:, :2]).prod(1)
    return shared / np.maximum(np.where(crowd, area, area + areas - shared), 1e-9)
