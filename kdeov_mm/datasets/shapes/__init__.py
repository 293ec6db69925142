"""The shapes dataset: synthetic scenes of textured, coloured shapes, written as a COCO data set with captions.

Configs and tools call :func:`ensure_world`. Every image is a function of (seed, split, index), so splits may be
generated one at a time, in any order and by any number of processes.
"""

from .captions import EMPTY_CAPTIONS
from .coco import JPEG_QUALITY, encode_image
from .concepts import FRACTIONS, GROUPS, SPLITS, world_concepts
from .drawing import COLOURS, SHAPES, TEXTURES, draw_object, outline
from .dataset import SIZES, ensure_world
from .samples import STYLES

SHARES = FRACTIONS  # the old name, for one release

__all__ = [
    'COLOURS',
    'EMPTY_CAPTIONS',
    'FRACTIONS',
    'GROUPS',
    'JPEG_QUALITY',
    'SHAPES',
    'SHARES',
    'SIZES',
    'SPLITS',
    'STYLES',
    'TEXTURES',
    'draw_object',
    'encode_image',
    'ensure_world',
    'outline',
    'world_concepts',
]
