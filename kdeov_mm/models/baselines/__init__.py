"""Other people's models, built here from their papers, to compare with."""
from .yolo_world import YOLOWorld, YOLOWorldHead, YOLOWorldHeadModule, YOLOWorldPAFPN

__all__ = ['YOLOWorld', 'YOLOWorldHead', 'YOLOWorldHeadModule', 'YOLOWorldPAFPN']
