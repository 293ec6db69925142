"""Open-vocabulary detection on LVIS: standard AP and fixed AP, by frequency."""

from collections.abc import Sequence

import numpy as np
from mmyolo.registry import METRICS

from kdeov_mm.datasets.coco_file import LVIS_FIELDS
from kdeov_mm.datasets.splits import groups_by_frequency

from .box_metric import BoxMetric, Boxes
from .precision_engines import FASTER, LVIS_ENGINES

PROTOCOLS = ('standard', 'fixed')
FREQUENCIES = ('r', 'c', 'f')


@METRICS.register_module()
class OVLVISMetric(BoxMetric):
    """LVIS's AP of boxes, where all names compete in every image.

    Keys are ``ov_lvis/{protocol}/{name}`` with name ``AP``, ``AP50``, ``AP75``, or ``APr``, ``APc``, ``APf``:
    the mean over the classes that have ground truth and that the annotation file calls rare, common or
    frequent. In OV-LVIS (Gu et al. 2022, "Open-vocabulary object detection via vision and language knowledge
    distillation", ViLD) the rare ones are novel. The protocols are

    - ``standard`` (Gupta et al. 2019, "LVIS: A dataset for large vocabulary instance segmentation"): the 300 best
      detections of an image count, whatever their class.
    - ``fixed`` (Dave et al. 2021, "Evaluating large-vocabulary object detectors: the devil is in the details"):
      the 10,000 best detections of a class over the whole data set count, with no limit for an image. The
      model's own limit should then be high.

    Both are federated: a detection counts only where the image's annotators looked for its class (it is annotated
    there, or in ``neg_category_ids``), and one that matches nothing is no mistake where they did not mark all
    (``not_exhaustive_category_ids``).

    Args:
        ann_file: LVIS v1 annotation file; categories are matched to ``classes`` by name.
        protocols: ``standard``, ``fixed`` or both.
        max_dets: Of an image, in ``standard``.
        max_dets_per_class: Over the data set, in ``fixed``.
        engine: ``lvis`` or ``faster-coco-eval``.
        **kwargs: See :class:`~kdeov_mm.evaluation.box_metric.BoxMetric`.

    Raises:
        ValueError: If a protocol or engine is unknown, or the annotation file cannot be used.
    """

    default_prefix = 'ov_lvis'
    fields = LVIS_FIELDS
    engines = LVIS_ENGINES

    def __init__(
        self,
        ann_file: str,
        protocols: Sequence[str] = PROTOCOLS,
        max_dets: int = 300,
        max_dets_per_class: int = 10000,
        engine: str = 'lvis',
        **kwargs,
    ) -> None:
        self.protocols = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        unknown = [name for name in self.protocols if name not in PROTOCOLS]
        if unknown or not self.protocols:
            raise ValueError(f'protocols={protocols!r}: use one or both of {", ".join(map(repr, PROTOCOLS))}')
        super().__init__(ann_file, engine, **kwargs)
        self.max_dets, self.max_dets_per_class = max_dets, max_dets_per_class
        self.columns = [f'{protocol}/{name}' for protocol in self.protocols for name in ('AP', 'AP50', 'AP75')]
        self.check(engine)

    def check(self, engine: str) -> None:
        """Raise ValueError where the annotation file has what LVIS does not."""
        groups_by_frequency(self.coco.dataset['categories'])
        special = [item for item in self.coco.dataset['annotations'] if item.get('ignore') or item['iscrowd']]
        if special and engine == FASTER:  # which would take them for COCO's crowds
            raise ValueError(
                f'annotation file "{self.ann_file}" has {len(special)} annotations with ignore or '
                "iscrowd, which LVIS does not know; remove them or use engine='lvis'"
            )

    def calculate(self, boxes: Boxes, category_ids: np.ndarray, img_ids: Sequence[int]) -> np.ndarray:
        """AP, AP50 and AP75 of each class by protocol, ``[K, 3 * len(protocols)]``."""
        truth = {  # the lvis package drops what has no area
            category: [item for item in annotations if item['area'] > 0]
            for category, annotations in self.truth_by_class(img_ids).items()
        }
        tables = []
        for protocol in self.protocols:
            counted = (
                boxes.best(self.max_dets, boxes.img_ids)
                if protocol == 'standard'
                else boxes.best(self.max_dets_per_class, boxes.labels)
            )
            counted = counted.federated(self.coco, truth, category_ids, img_ids)
            tables.append(self.average_precision(counted, truth, category_ids))
        return np.concatenate(tables, 1)

    def summarize(self, table: np.ndarray, category_ids: np.ndarray) -> dict[str, float]:
        """Compute the mean over all classes, and over those of each frequency."""
        frequency = np.array([self.coco.cats[category]['frequency'] for category in category_ids])
        values = {}
        for protocol, columns in zip(self.protocols, np.split(table, len(self.protocols), axis=1)):
            found = {name: columns[:, i] for i, name in enumerate(('AP', 'AP50', 'AP75'))}
            found.update((f'AP{kind}', columns[frequency == kind, 0]) for kind in FREQUENCIES)
            values.update(
                (f'{protocol}/{name}', np.nanmean(ap)) for name, ap in found.items() if not np.isnan(ap).all()
            )
        return values
