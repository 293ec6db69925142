"""The shapes world: generated scenes of textured, coloured shapes, written as a COCO data set with captions.

:func:`ensure_world` is what configs and tools call. Every image is a function of (seed, split, index) alone,
so splits may be generated one at a time, in any order and by any number of processes.
"""

from .captions import EMPTY_CAPTIONS
from .coco import JPEG_QUALITY, encode_image
from .concepts import GROUPS, SHARES, SPLITS, world_concepts
from .drawing import COLOURS, SHAPES, TEXTURES, draw_object, outline
from .dataset import SIZES, ensure_world

__all__ = [
    'COLOURS',
    'EMPTY_CAPTIONS',
    'GROUPS',
    'JPEG_QUALITY',
    'SHAPES',
    'SHARES',
    'SIZES',
    'SPLITS',
    'TEXTURES',
    'draw_object',
    'encode_image',
    'ensure_world',
    'outline',
    'world_concepts',
]
