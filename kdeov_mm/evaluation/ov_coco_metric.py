"""Open-vocabulary detection on COCO-style data, by groups of classes."""

from collections.abc import Sequence

import numpy as np
from mmyolo.registry import METRICS

from .box_metric import BoxMetric, Boxes
from .precision_engines import COCO_ENGINES


@METRICS.register_module()
class OVCocoMetric(BoxMetric):
    """AP and AP50 of boxes over all classes and by group, where all names compete in every image.

    The generalised protocol of Zareian et al. 2021, "Open-vocabulary object detection using captions"
    (OVR-CNN). A group's value is the mean over its classes that have ground truth; keys are
    ``ov/{group}/AP`` and ``ov/{group}/AP50`` for ``all`` and each group. See
    :class:`~kdeov_mm.evaluation.box_metric.BoxMetric` for ``chance``.

    Args:
        ann_file: COCO annotation file; categories are matched to ``classes`` by name.
        max_dets: Detections counted for one class in one image, best first.
        engine: ``pycocotools`` or ``faster-coco-eval``.
        **kwargs: See :class:`~kdeov_mm.evaluation.box_metric.BoxMetric`.
    """

    default_prefix = 'ov'
    engines = COCO_ENGINES
    columns = ('AP', 'AP50')

    def __init__(self, ann_file: str, max_dets: int = 100, engine: str = 'pycocotools', **kwargs) -> None:
        super().__init__(ann_file, engine, **kwargs)
        self.max_dets = max_dets

    def calculate(self, boxes: Boxes, category_ids: np.ndarray, img_ids: Sequence[int]) -> np.ndarray:
        """AP and AP50 of each class, ``[K, 2]``."""
        return self.average_precision(boxes, self.truth_by_class(img_ids), category_ids, self.max_dets)[:, :2]

    def summarize(self, table: np.ndarray, category_ids: np.ndarray) -> dict[str, float]:
        """Compute the mean over all classes and over each group."""
        return {
            f'{name}/{key}': np.nanmean(table[mask, column])
            for name, mask in self.group_members().items()
            if not np.isnan(table[mask]).all()
            for column, key in enumerate(self.columns)
        }
