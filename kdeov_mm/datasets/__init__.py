from .ov_coco import OVCocoDataset
from .shapes import ensure_world, world_concepts

__all__ = ['OVCocoDataset', 'ensure_world', 'world_concepts']
