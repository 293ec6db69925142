from .ov_coco import OVCocoDataset
from .samplers import HardNegativeSampler
from .shapes import ensure_world, world_concepts
from .teacher_store import TeacherStore, TeacherStoreWriter
from .transforms import ObjectSafeCrop

__all__ = [
    'HardNegativeSampler', 'ObjectSafeCrop', 'OVCocoDataset', 'TeacherStore', 'TeacherStoreWriter', 'ensure_world',
    'world_concepts'
]
