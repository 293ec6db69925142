"""The packages that match boxes and integrate precision, each behind one function for one class.

A class's precision depends only on the images where it is annotated or found, so each call gets these alone.
That is exact, keeps memory to one class, and is several times faster than the packages' own loop over all
pairs of images and classes where classes are many.

All functions take and give the same:
    images: Records of the images, with ``id``; for federated data also ``neg_category_ids`` and
        ``not_exhaustive_category_ids``.
    category: Record of the class, with ``id``; for federated data also ``frequency``.
    truth: Annotations of the class in these images.
    detections: Its detections: id (from 1), image_id, category_id, bbox (xywh), area, score, iscrowd.
    max_dets: Detections counted in one image, best first; None counts all.
and return float64 ``[10, 101]``: precision at IoU 0.5, 0.55, ... 0.95 and recall 0, 0.01, ... 1; -1 where
nothing is to be found.
"""

import contextlib
import importlib.util
import io
import logging
from collections.abc import Callable, Sequence

import numpy as np
from lvis import LVISEval, LVISResults
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FASTER = 'faster-coco-eval'


def pycocotools_precision(
    images: list[dict], category: dict, truth: list[dict], detections: list[dict], max_dets: int | None
) -> np.ndarray:
    """COCO's evaluation by pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        engine = COCOeval(*_index(COCO, images, category, truth, detections), 'bbox')
        return _run_coco(engine, detections, max_dets)


def faster_precision(
    images: list[dict], category: dict, truth: list[dict], detections: list[dict], max_dets: int | None, **options
) -> np.ndarray:
    """COCO's evaluation by faster-coco-eval; ``options`` are those of its ``COCOeval_faster``."""
    from faster_coco_eval import COCO as FasterCOCO
    from faster_coco_eval import COCOeval_faster

    engine = COCOeval_faster(*_index(FasterCOCO, images, category, truth, detections), 'bbox', **options)
    return _run_coco(engine, detections, max_dets)


def lvis_precision(
    images: list[dict], category: dict, truth: list[dict], detections: list[dict], max_dets: int | None = None
) -> np.ndarray:
    """LVIS's federated evaluation by the lvis package, which counts all detections."""
    engine = LVISEval(_Records(images, category, truth), _Records(images, category, detections), iou_type='bbox')
    engine.params.area_rng = engine.params.area_rng[:1]
    engine.evaluate()
    engine.accumulate()
    return engine.eval['precision'][:, :, 0, 0]


def faster_lvis_precision(
    images: list[dict], category: dict, truth: list[dict], detections: list[dict], max_dets: int | None = None
) -> np.ndarray:
    """LVIS's federated evaluation by faster-coco-eval."""
    return faster_precision(images, category, truth, detections, max_dets, lvis_style=True)


COCO_ENGINES = {'pycocotools': pycocotools_precision, FASTER: faster_precision}
LVIS_ENGINES = {'lvis': lvis_precision, FASTER: faster_lvis_precision}


def find_engine(name: str, engines: dict[str, Callable]) -> Callable:
    """Return the function of an engine's name.

    Raises:
        ValueError: If there is none, or its package is not installed.
    """
    if name not in engines:
        raise ValueError(f'engine={name!r} is unknown; use one of {", ".join(map(repr, engines))}')
    if name == FASTER and importlib.util.find_spec('faster_coco_eval') is None:
        raise ValueError(
            f'engine={name!r} needs a package that is not installed; run "pip install {FASTER}", or '
            f'use engine={next(iter(engines))!r}'
        )
    return engines[name]


class _Records(LVISResults):
    """Annotations or detections from memory; the package's own constructors read a file or copy all of one."""

    def __init__(self, images: list[dict], category: dict, annotations: list[dict]) -> None:
        self.logger = logging.getLogger(__name__)
        self.dataset = dict(images=images, categories=[category], annotations=annotations)
        self._create_index()


def _index(api: type, images: list[dict], category: dict, *lists: list[dict]) -> Sequence:
    """Build an indexed ``COCO`` for each list of annotations."""
    indexed = []
    for annotations in lists:
        coco = api()
        coco.dataset = dict(images=images, categories=[category], annotations=annotations)
        coco.createIndex()
        indexed.append(coco)
    return indexed


def _run_coco(engine, detections: list[dict], max_dets: int | None) -> np.ndarray:
    params = engine.params
    params.maxDets = [len(detections) if max_dets is None else max_dets]
    params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
    engine.evaluate()
    engine.accumulate()
    return engine.eval['precision'][..., 0, 0, 0]
