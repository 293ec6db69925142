"""Metrics for the three tasks, and the report that shows them.

Names are imported when they are used: pictures need neither torch nor MMEngine.
"""

from kdeov_mm.utils.lazy import import_when_used

MODULES = dict(
    AloneMetric='.alone_metric',
    ClassificationMetric='.classification_metric',
    OVCocoMetric='.ov_coco_metric',
    OVLVISMetric='.ov_lvis_metric',
    RetrievalMetric='.retrieval_metric',
    ZeroShotMetric='.zero_shot_metric',
)

__all__ = list(MODULES)
__getattr__ = import_when_used(__name__, MODULES)
