from .ov_coco import OVCocoDataset
from .samplers import HardNegativeSampler
from .shapes import ensure_world, world_concepts
from .transforms import ObjectSafeCrop

__all__ = ['HardNegativeSampler', 'ObjectSafeCrop', 'OVCocoDataset', 'ensure_world', 'world_concepts']
