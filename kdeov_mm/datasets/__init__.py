from .ov_coco import OVCocoDataset
from .shapes import ensure_world, world_concepts
from .transforms import ObjectSafeCrop

__all__ = ['ObjectSafeCrop', 'OVCocoDataset', 'ensure_world', 'world_concepts']
