"""The frozen side: image teachers, text encoders, text bank."""

from .ensemble import EnsembleTeacher, EnsembleTextEncoder, complete_teacher, identify_teacher
from .loading import load_open_clip
from .online_targets import OnlineTargets
from .precomputed_text_encoder import PrecomputedTextEncoder
from .prompts import TEMPLATES
from .region_teacher import RegionTeacher
from .teacher import OpenCLIPTeacher, describe_teacher
from .teacher_view import teacher_view
from .text_bank import TextBank
from .text_encoder import OpenCLIPTextEncoder, build_text_encoder
from .vocabulary import read_names

__all__ = [
    'EnsembleTeacher',
    'EnsembleTextEncoder',
    'OnlineTargets',
    'OpenCLIPTeacher',
    'OpenCLIPTextEncoder',
    'PrecomputedTextEncoder',
    'RegionTeacher',
    'TEMPLATES',
    'TextBank',
    'build_text_encoder',
    'complete_teacher',
    'describe_teacher',
    'identify_teacher',
    'load_open_clip',
    'read_names',
    'teacher_view',
]
