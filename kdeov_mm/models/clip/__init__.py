"""The frozen side: image teacher, text encoders, text bank."""
from .loading import load_open_clip
from .precomputed_text_encoder import PrecomputedTextEncoder
from .prompts import TEMPLATES
from .region_teacher import RegionTeacher
from .teacher import OpenCLIPTeacher
from .text_bank import TextBank
from .text_encoder import OpenCLIPTextEncoder
from .vocabulary import read_names

__all__ = [
    'OpenCLIPTeacher', 'OpenCLIPTextEncoder', 'PrecomputedTextEncoder', 'RegionTeacher', 'TEMPLATES', 'TextBank',
    'load_open_clip', 'read_names'
]
