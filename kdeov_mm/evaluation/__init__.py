"""Metrics for the three tasks, and the report that shows them."""

from .classification_metric import ClassificationMetric
from .ov_coco_metric import OVCocoMetric
from .ov_lvis_metric import OVLVISMetric
from .retrieval_metric import RetrievalMetric
from .zero_shot_metric import ZeroShotMetric

__all__ = ['ClassificationMetric', 'OVCocoMetric', 'OVLVISMetric', 'RetrievalMetric', 'ZeroShotMetric']
