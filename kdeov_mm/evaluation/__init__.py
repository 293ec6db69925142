"""Metrics for the three tasks, and the report that shows them."""
from .ov_coco_metric import OVCocoMetric
from .ov_lvis_metric import OVLVISMetric
from .retrieval_metric import RetrievalMetric
from .zero_shot_metric import ZeroShotMetric

__all__ = ['OVCocoMetric', 'OVLVISMetric', 'RetrievalMetric', 'ZeroShotMetric']
