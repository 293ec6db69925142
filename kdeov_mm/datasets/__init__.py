from .ov_coco import OVCocoDataset
from .ov_lvis import OVLVISDataset
from .region_store import LoadRegions, PackRegions
from .samplers import HardNegativeSampler
from .shapes import ensure_world, world_concepts
from .teacher_store import TeacherStore, TeacherStoreWriter
from .transforms import ObjectSafeCrop

__all__ = [
    'HardNegativeSampler', 'LoadRegions', 'ObjectSafeCrop', 'OVCocoDataset', 'OVLVISDataset', 'PackRegions',
    'TeacherStore', 'TeacherStoreWriter', 'ensure_world', 'world_concepts'
]
