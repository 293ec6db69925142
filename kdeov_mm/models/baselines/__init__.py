"""Other people's models, built here from their papers, to compare with."""

from .teacher_model import TeacherModel
from .timm_classifier import TimmClassifier
from .yolo_world import YOLOWorld, YOLOWorldHead, YOLOWorldHeadModule, YOLOWorldPAFPN

__all__ = ['TeacherModel', 'TimmClassifier', 'YOLOWorld', 'YOLOWorldHead', 'YOLOWorldHeadModule', 'YOLOWorldPAFPN']
