"""Post-processing of the head's maps to detections, for PyTorch and for exported models."""

import math
from collections.abc import Sequence

import torch
from mmengine.config import ConfigDict
from torch import Tensor
from torchvision.ops import nms


def top_candidates(
    objectness: Sequence[Tensor], maps: Sequence[Sequence[Tensor]], priors: Tensor, limit: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Keep the ``limit`` priors of each image with the highest objectness.

    Args:
        objectness: Logits of each level, ``[B, 1, H, W]``.
        maps: Other outputs of the head; each has ``[B, C, H, W]`` for each level.
        priors: Centre x, y and stride of all N positions, ``[N, 4]``.
        limit: Maximum M of candidates.

    Returns:
        tuple: Objectness in [0, 1] ``[B, M]``, priors ``[B, M, 4]``, and the values of each of ``maps`` ``[B, M, C]``.
    """
    logits = torch.cat([level.flatten(1) for level in objectness], dim=1)
    logits, order = logits.topk(torch.sym_min(limit, logits.shape[1]))
    return logits.sigmoid(), priors[order], [gather(levels, order) for levels in maps]


def gather(maps: Sequence[Tensor], index: Tensor) -> Tensor:
    """Gather vectors ``[B, M, C]`` of maps ``[B, C, H, W]`` at positions ``[B, M]``, counted over all levels."""
    flat = torch.cat([m.flatten(2) for m in maps], dim=2)
    return flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def decode_boxes(priors: Tensor, distances: Tensor) -> Tensor:
    """Turn distances ``[..., 4]`` in strides (left, top, right, bottom) into boxes x1, y1, x2, y2 in pixels."""
    x, y, stride = priors[..., :3].unbind(-1)
    left, top, right, bottom = (distances * stride[..., None]).unbind(-1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)


def independent_probability(
    logits: Tensor, competitors: Tensor, competes: Tensor, hyponyms: Tensor, background_logit: float
) -> Tensor:
    """Compute the probability that a region shows a class rather than any silent competitor.

    A class has the mean evidence of its name and of its hyponyms among the competitors. With the logits z of class k
    and of the competitors l, the logit scale s and the background b (a cosine similarity)::

        evidence_k = mean(e^z_k, e^z_l of all l with hyponyms[k, l] = 1)
        p_k = evidence_k / (evidence_k + sum_l competes[k, l] e^z_l + e^(s*b))

    The other classes are not part of it: p_k is the same whatever else is asked. In NumPy,
    :class:`~kdeov_mm.structures.ImageCompetitors` has this formula for several names that share an image.

    Args:
        logits: Logits of the K asked classes, ``[..., M, K]``.
        competitors: Logits of the L competitors, ``[..., M, L]``; L may be 0.
        competes: 1 where a competitor counts against a class, else 0; floating point, ``[K, L]``.
        hyponyms: 1 where a competitor is a hyponym of a class, else 0; floating point, ``[K, L]``, dense or sparse.
        background_logit: The logit ``s * b`` of a competitor that every class has.

    Returns:
        Tensor: Probabilities in [0, 1], ``[..., M, K]``; NaN where a logit is NaN.
    """
    constant = torch.full_like(logits[..., :1], background_logit)
    top = torch.cat([competitors, constant], dim=-1).amax(-1, keepdim=True)
    evidence = (competitors - top).exp()
    total = evidence @ competes.T + (constant - top).exp()
    # The best competitor may not count. Beside it, the others vanish in float32, but the background always counts.
    rest = (total.log() + top).clamp(min=background_logit)
    count = hyponyms @ logits.new_ones(hyponyms.shape[1]) + 1  # a sum that sparse tensors have, too
    own = torch.logaddexp(logits, (hyponyms @ evidence.mT).mT.log() + top) - count.log()
    return (own - rest).sigmoid()


def score_classes(objectness: Tensor, probability: Tensor, cfg: ConfigDict) -> tuple[Tensor, Tensor]:
    """Score the best classes of each candidate.

    The score is ``objectness^a * probability^(1-a)`` with ``a = cfg.objectness_power``, as OLN (Kim et al. 2022) and
    F-VLM (Kuo et al. 2023) combine localisation and similarity.

    Args:
        objectness: Objectness in [0, 1], ``[..., M]``.
        probability: Probabilities of the K classes, in [0, 1], ``[..., M, K]``.
        cfg: ``test_cfg``: ``classes_per_box`` classes of each candidate count, with a score above ``score_thr``.

    Returns:
        tuple: Scores ``[..., M, n]``, 0 below the threshold and NaN for damaged weights, and labels of the
        same shape.
    """
    best, labels = probability.topk(torch.sym_min(cfg.classes_per_box, probability.shape[-1]))
    scores = combine(objectness, best, cfg.objectness_power)
    return torch.where(scores <= cfg.score_thr, 0.0, scores), labels


def combine(objectness: Tensor, probability: Tensor, power: float) -> Tensor:
    """Combine objectness ``[..., M]`` and class probabilities ``[..., M, K]`` to scores; see :func:`score_classes`."""
    return objectness[..., None] ** power * probability ** (1 - power)


def platt_scale(scores: Tensor, scale: float, bias: float) -> Tensor:
    """Apply Platt scaling (Platt 1999) to raw scores in [0, 1]: ``sigmoid(scale * logit(scores) + bias)``.

    It is the identity for scale 1 and bias 0, keeps 0, 1 and NaN, and keeps the order of scores for a positive
    scale. The order is kept up to rounding: scores that differ by less than float32 can tell apart become equal.
    """
    if scale == 1 and bias == 0:
        return scores
    odds = math.exp(bias) * scores**scale
    return odds / (odds + (1 - scores) ** scale)


def to_original(boxes: Tensor, img_meta: dict) -> Tensor:
    """Convert boxes ``[n, 4]`` from pixels of the network's input to pixels of the original image."""
    scale, shift = scale_and_shift(boxes, img_meta)
    return (boxes - shift) / scale


def to_input(boxes: Tensor, img_meta: dict) -> Tensor:
    """Convert boxes ``[n, 4]`` from pixels of the original image to pixels of the network's input."""
    scale, shift = scale_and_shift(boxes, img_meta)
    return boxes * scale + shift


def scale_and_shift(boxes: Tensor, img_meta: dict) -> tuple[Tensor, Tensor]:
    """Return scale and shift, ``[4]`` each for x, y, x, y, of an image that was resized and then padded."""
    top, _, left, _ = img_meta.get('pad_param', (0, 0, 0, 0))
    return boxes.new_tensor(img_meta['scale_factor']).repeat(2), boxes.new_tensor([left, top, left, top])


def nms_by_class(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float, max_detections: int) -> Tensor:
    """Apply non-maximum suppression within each class; return indices of the ``max_detections`` best boxes, best first.

    Only better boxes can suppress a box. So the best few boxes are tried first, and more only if too few of them
    remain. The result is the same as with all boxes at once. Coordinates are at least 0.
    """
    order = scores.argsort(descending=True, stable=True)
    tried = 4 * max_detections
    while True:
        best = order[:tried]
        # Shift classes apart, in float64: with many classes, float32 would lose fractions of a pixel.
        apart = boxes[best].double()
        if len(best):
            apart = apart + (labels[best] * (apart.max() + 1))[:, None]
        keep = best[nms(apart, scores[best].double(), iou_threshold)]
        if len(keep) >= max_detections or tried >= len(order):
            return keep[:max_detections]
        tried *= 4
