"""Fitting of a detector's calibration on validation data, for ``kdeov calibrate``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kdeov_mm.datasets.ov_lvis import OVLVISDataset
from kdeov_mm.evaluation.reliability import MIN_SCORE, Reliability, brier, find_right
from kdeov_mm.models.calibration import ScoreCalibration
from kdeov_mm.models.post_processing import platt_scale
from kdeov_mm.structures import DEFAULT_THRESHOLD
from kdeov_mm.utils.errors import InputError
from .detection import build_vocabulary, load_model

BACKGROUNDS = (-1.0, *(step / 20 for step in range(20)))  # -1: too low to matter
LIMIT = 1e-6  # scores are at least this far from 0 and 1 in the fit


@dataclass
class Judged:
    """Holds judged detections: those with a raw score of at least ``MIN_SCORE``.

    Attributes:
        scores: Raw scores, ``[M]``.
        right: Which of them show an object of their class, bool ``[M]``.
        image: Image index of each, ``[M]``.
        missed: Number of objects in each image that no detection shows, ``[N]``.
    """

    scores: np.ndarray
    right: np.ndarray
    image: np.ndarray
    missed: np.ndarray

    @cached_property
    def logits(self) -> Tensor:
        """Logits of the scores, at least ``LIMIT`` from 0 and 1; float64 ``[M]``."""
        return torch.from_numpy(self.scores).clamp(LIMIT, 1 - LIMIT).logit()

    @property
    def counts(self) -> tuple[int, int]:
        """Number of right and of wrong detections."""
        return int(self.right.sum()), int((~self.right).sum())


@dataclass
class Candidate:
    """Holds a background, with the Platt scaling that fits its detections.

    Attributes:
        background: Cosine similarity, in [-1, 1]; None: that of a model without one.
        judged: The detections with this background.
        scale, bias: Of Platt scaling.
        losses: Negative log likelihood of each image, ``[N]``, see :func:`likelihoods`.
    """

    background: float | None
    judged: Judged
    scale: float
    bias: float
    losses: np.ndarray


def build_base_loader(cfg: Config) -> DataLoader:
    """Build the loader of ``val_dataset`` with the base classes alone.

    Raises:
        InputError: If the config has no such data set, or its annotations are not complete.
    """
    if not cfg.get('val_dataset'):
        raise InputError(
            f'val_dataset: {cfg.filename} has none; give it one, such as dict(type="OVCocoDataset", ann_file=..., '
            'data_prefix=dict(img=...), pipeline=...), whose images the model was not trained on'
        )
    init_default_scope(cfg.get('default_scope', 'mmyolo'))
    loader = dict(
        batch_size=32,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
        dataset={**cfg.val_dataset, 'groups': ('base',), 'test_mode': True},
    )
    built = Runner.build_dataloader(loader)
    if isinstance(built.dataset, OVLVISDataset):
        raise InputError(
            f'val_dataset: {cfg.val_dataset.ann_file} is of LVIS, which labels some classes in some images only, so '
            'errors cannot be told from unlabelled objects; give a data set with all objects of the base classes'
        )
    return built


def build_raw_model(cfg: Config, checkpoint: str, names: Sequence[str]) -> nn.Module:
    """Build the model with raw scores, in which boxes of different class names do not suppress each other.

    A name's detections are those of the name asked alone, but for two things. A box keeps its
    ``test_cfg.classes_per_box`` best names. And users of the API get suppression across names, which the fit has not.
    """
    if cfg.model.type != 'KDEOV':
        raise InputError(f'model: {cfg.model.type} has no calibration; give the config of a KDEOV')
    cfg = Config({**cfg.to_dict(), 'model': {**cfg.model.to_dict(), 'calibrated': False}}, filename=cfg.filename)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return load_model(cfg, checkpoint, build_vocabulary(cfg, names), device, class_agnostic=False)


@torch.inference_mode()
def judge(model: nn.Module, loader: DataLoader, backgrounds: Sequence[float | None]) -> list[Judged]:
    """Detect all classes, and judge the detections for each background.

    Labels of the loader's classes must be complete. Then each detection that shows none of its class's objects is
    wrong, even if it shows an unlabelled object of another class.

    Args:
        model: See :func:`build_raw_model`.
        loader: See :func:`build_base_loader`.
        backgrounds: Values of ``background``; None: that of a model without one.
    """
    images: list[list[tuple]] = [[] for _ in backgrounds]
    dataset = loader.dataset
    truth = {info['img_id']: info['instances'] for info in map(dataset.get_data_info, range(len(dataset)))}
    for batch in loader:
        batch = model.data_preprocessor(batch, False)
        samples = batch['data_samples']
        feats = model.fuse_and_neck(model.backbone(batch['inputs']), model.context)
        for background, judged in zip(backgrounds, images):
            competitors = None if background is None else replace(model.competitors, background=background)
            results = model.bbox_head.predict(
                feats, samples, model.class_embeddings, rescale=True, competitors=competitors
            )
            judged += [judge_image(result, truth[sample.img_id]) for result, sample in zip(results, samples)]
    return [join(judged) for judged in images]


def judge_image(result: Any, instances: list[dict]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the raw scores of an image's detections, which of them are right, and the number of missed objects."""
    result = result[result.scores >= MIN_SCORE].cpu().numpy()
    right, ignored = find_right(result.bboxes, result.labels, instances)
    objects = sum(not item['ignore_flag'] for item in instances)
    return result.scores[~ignored].astype(float), right[~ignored], int(objects - right.sum())


def join(images: list[tuple]) -> Judged:
    """Join the results of :func:`judge_image`."""
    scores, right, missed = zip(*images)
    image = np.repeat(np.arange(len(images)), [len(part) for part in scores])
    return Judged(np.concatenate(scores), np.concatenate(right), image, np.array(missed))


def check(judged: Judged) -> None:
    """Check that Platt scaling can be fitted.

    Raises:
        InputError: If all detections are right, or none is.
    """
    positive, negative = judged.counts
    if not positive or not negative:
        raise InputError(
            f'val_dataset: {positive} detections are right and {negative} are wrong; both kinds are needed; give more '
            'images, or weights of a trained detector'
        )


def fit_platt_scaling(judged: Judged) -> tuple[float, float]:
    """Fit scale and bias of :func:`~kdeov_mm.models.post_processing.platt_scale` by maximum likelihood (Platt 1999).

    Raises:
        InputError: See :func:`check`.
    """
    check(judged)
    positive, negative = judged.counts
    # Platt's targets keep the fit finite where a threshold separates right from wrong.
    targets = torch.from_numpy(np.where(judged.right, (positive + 1) / (positive + 2), 1 / (negative + 2)))
    values = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # logarithm of the scale, bias
    optimizer = torch.optim.LBFGS([values], max_iter=200, tolerance_grad=1e-9, line_search_fn='strong_wolfe')

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(values[0].exp() * judged.logits + values[1], targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    log_scale, bias = values.tolist()
    return float(np.exp(log_scale)), bias


def likelihoods(judged: Judged, scale: float, bias: float, num_boxes: int) -> np.ndarray:
    """Compute each image's negative log likelihood after Platt scaling, ``[N]``.

    All backgrounds are compared on the same number of boxes. Those below ``MIN_SCORE`` share one probability, the
    fraction of objects among them. Otherwise a background that hides right and wrong detections would win.

    Args:
        judged: The detections.
        scale, bias: Of Platt scaling.
        num_boxes: Boxes of each image, shown or not; at least as many as it has detections and missed objects.
    """
    logits = scale * judged.logits.numpy() + bias
    terms = np.logaddexp(0, np.where(judged.right, -logits, logits))
    hidden = num_boxes - np.bincount(judged.image, minlength=len(judged.missed))
    fraction = np.clip(judged.missed.sum() / max(hidden.sum(), 1), LIMIT, 1 - LIMIT)
    rest = -judged.missed * np.log(fraction) - (hidden - judged.missed) * np.log1p(-fraction)
    return np.bincount(judged.image, terms, len(judged.missed)) + rest


def fit_candidates(judged: Mapping[float | None, Judged], min_boxes: int) -> list[Candidate]:
    """Fit Platt scaling for each background whose detections are neither all right nor all wrong.

    Args:
        judged: The detections with each background.
        min_boxes: Boxes of each image that the likelihoods count, or more if there are more detections.
    """
    judged = {background: item for background, item in judged.items() if all(item.counts)}
    shown = max(np.bincount(item.image).max() for item in judged.values())
    num_boxes = max(shown + max(item.missed.max() for item in judged.values()), min_boxes)
    candidates = []
    for background, item in judged.items():
        scale, bias = fit_platt_scaling(item)
        candidates.append(Candidate(background, item, scale, bias, likelihoods(item, scale, bias, num_boxes)))
    return candidates


def choose_background(candidates: Sequence[Candidate]) -> Candidate:
    """Choose the largest background that is as good as the best, by the one-standard-error rule (Breiman et al. 1984).

    Base classes cannot show what the background is for: things that the lexicon does not know. So among backgrounds
    whose likelihood is the same within a standard error of the difference, the strictest is taken.

    Args:
        candidates: At least one, sorted by background.
    """
    losses = np.stack([candidate.losses for candidate in candidates])
    best = losses.sum(1).argmin()
    difference = losses - losses[best]
    error = difference.std(1, ddof=1) * np.sqrt(losses.shape[1])
    return candidates[np.flatnonzero(difference.sum(1) <= error).max()]


def choose_threshold(scores: np.ndarray, right: np.ndarray, precision: float) -> float:
    """Return the smallest threshold whose detections have at least a precision.

    It lies midway between the lowest kept score and the next lower one.

    Raises:
        InputError: If no threshold reaches the precision.
    """
    order = np.argsort(-scores, kind='stable')
    ordered = scores[order]
    reached = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last = np.append(ordered[1:] < ordered[:-1], True)  # of equal scores all are kept or none
    kept = np.flatnonzero(last & (reached >= precision))
    if not len(kept):
        raise InputError(f'--precision {precision}: no threshold reaches it, the best has {reached[last].max():.3f}')
    lowest = kept[-1]
    return float(ordered[lowest : lowest + 2].mean())


def measure(judged: Judged, scores: np.ndarray, threshold: float) -> tuple[dict[str, float], Reliability]:
    """Measure calibration, and precision and recall at a threshold.

    The calibration error and the bins count the detections whose ``scores`` are at least ``MIN_SCORE``. So raw and
    calibrated scores count different detections.

    Args:
        judged: The detections.
        scores: Their raw or calibrated scores, ``[M]``.
        threshold: Minimum score of the detections in precision and recall.
    """
    shown, kept = scores >= MIN_SCORE, scores >= threshold
    reliability = Reliability.calculate(scores[shown], judged.right[shown])
    hits = int(judged.right[kept].sum())
    values = dict(
        ECE=reliability.error,
        Brier=brier(scores, judged.right),
        threshold=threshold,
        precision=hits / max(int(kept.sum()), 1),
        recall=hits / int(judged.right.sum() + judged.missed.sum()),
    )
    return values, reliability


def fit(
    model: nn.Module, loader: DataLoader, precision: float
) -> tuple[ScoreCalibration, dict[str, Any], dict[str, Reliability]]:
    """Fit the background, Platt scaling and the default threshold.

    Args:
        model: See :func:`build_raw_model`.
        loader: See :func:`build_base_loader`.
        precision: Minimum precision at the default threshold, in (0, 1].

    Returns:
        tuple: The calibration; a report as JSON values; reliability before and after.
    """
    initial = model.background
    backgrounds = [None] if initial is None else sorted({*BACKGROUNDS, initial})
    judged = dict(zip(backgrounds, judge(model, loader, backgrounds)))
    check(judged[initial])
    candidates = fit_candidates(judged, model.bbox_head.test_cfg.nms_pre)
    chosen = choose_background(candidates)
    scores = platt_scale(torch.from_numpy(chosen.judged.scores), chosen.scale, chosen.bias).numpy()
    threshold = choose_threshold(scores, chosen.judged.right, precision)
    calibration = ScoreCalibration(initial)
    values: dict[str, Any] = dict(scale=chosen.scale, bias=chosen.bias, background=chosen.background)
    calibration.set(**values, threshold=threshold)
    before, raw = measure(judged[initial], judged[initial].scores, DEFAULT_THRESHOLD)
    after, calibrated = measure(chosen.judged, scores, threshold)
    report = make_report(calibration, precision, len(model.vocabulary), candidates, chosen, before, after)
    return calibration, report, dict(before=raw, after=calibrated)


def make_report(
    calibration: ScoreCalibration,
    precision: float,
    base_classes: int,
    candidates: Sequence[Candidate],
    chosen: Candidate,
    before: dict[str, float],
    after: dict[str, float],
) -> dict[str, Any]:
    """Make the report of :func:`fit`; ``before`` and ``after`` come from :func:`measure`."""
    return dict(
        **{name: float(value) for name, value in calibration.tensors().items()},
        target_precision=precision,
        images=len(chosen.judged.missed),
        base_classes=base_classes,
        detections=len(chosen.judged.scores),
        before=before,
        after=after,
        backgrounds=[
            dict(
                background=candidate.background,
                scale=candidate.scale,
                bias=candidate.bias,
                negative_log_likelihood=float(candidate.losses.sum()),
            )
            for candidate in candidates
        ],
    )
