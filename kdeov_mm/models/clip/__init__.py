"""The frozen side: image teacher, text encoders, text bank."""
from .loading import load_open_clip
from .region_teacher import RegionTeacher
from .teacher import OpenCLIPTeacher
from .text_bank import TEMPLATES, TextBank
from .text_encoder import OpenCLIPTextEncoder, PrecomputedTextEncoder

__all__ = [
    'OpenCLIPTeacher', 'OpenCLIPTextEncoder', 'PrecomputedTextEncoder', 'RegionTeacher', 'TEMPLATES', 'TextBank',
    'load_open_clip'
]
