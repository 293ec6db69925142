"""Baselines for comparison: the teacher, supervised classifiers, and YOLO-World built from its paper."""

from .teacher_model import TeacherModel
from .timm_classifier import TimmClassifier
from .yolo_world import YOLOWorld, YOLOWorldHead, YOLOWorldHeadModule, YOLOWorldPAFPN

__all__ = ['TeacherModel', 'TimmClassifier', 'YOLOWorld', 'YOLOWorldHead', 'YOLOWorldHeadModule', 'YOLOWorldPAFPN']
