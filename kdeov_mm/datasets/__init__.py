"""Data sets, samplers, transforms, and stores of a teacher's embeddings."""

from .cached_teacher import CachedTeacherDataset, LoadTeacherEmbedding
from .image_text import ImageTextDataset
from .load_image import LoadImageReduced
from .mixture_sampler import MixtureSampler
from .open_clip_resize import OpenCLIPResize
from .ov_coco import OVCocoDataset
from .ov_lvis import OVLVISDataset
from .prepare import prepare_data
from .region_store import LoadRegions, PackRegions
from .samplers import HardNegativeSampler
from .seeded_dataset import SeededDataset
from .shapes import ensure_world, world_concepts
from .shards import ImageTextShards
from .skip_batch_sampler import SkipBatchSampler
from .teacher_store import TeacherStore, TeacherStoreWriter
from .torchvision_dataset import TorchvisionDataset
from .transforms import ObjectSafeCrop

__all__ = [
    'CachedTeacherDataset',
    'HardNegativeSampler',
    'ImageTextDataset',
    'ImageTextShards',
    'LoadImageReduced',
    'LoadRegions',
    'LoadTeacherEmbedding',
    'MixtureSampler',
    'ObjectSafeCrop',
    'OpenCLIPResize',
    'OVCocoDataset',
    'OVLVISDataset',
    'PackRegions',
    'SeededDataset',
    'SkipBatchSampler',
    'TeacherStore',
    'TeacherStoreWriter',
    'TorchvisionDataset',
    'ensure_world',
    'prepare_data',
    'world_concepts',
]
