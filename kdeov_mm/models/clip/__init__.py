"""Frozen CLIP models: image teachers, text encoders and the class embeddings that they make."""

from kdeov_mm.text import TEMPLATE_SETS, template_set
from kdeov_mm.text import read_class_names as read_names  # the old name, for one release
from .class_embeddings import ClassEmbeddings
from .competitors import Competitors
from .loading import load_open_clip
from .online_targets import OnlineTargets
from .precomputed_text_encoder import PrecomputedTextEncoder
from .region_teacher import RegionTeacher
from .teacher import OpenCLIPTeacher, complete_teacher, describe_teacher, identify_teacher
from .teacher_view import teacher_view
from .text_encoder import OpenCLIPTextEncoder, TextEncoder, build_text_encoder

TEMPLATES = {name: template_set(name) for name in TEMPLATE_SETS}  # the old spelling, for one release

TextBank = ClassEmbeddings  # the old name, for one release

__all__ = [
    'ClassEmbeddings',
    'Competitors',
    'OnlineTargets',
    'OpenCLIPTeacher',
    'OpenCLIPTextEncoder',
    'PrecomputedTextEncoder',
    'RegionTeacher',
    'TEMPLATES',
    'TextBank',
    'TextEncoder',
    'build_text_encoder',
    'complete_teacher',
    'describe_teacher',
    'identify_teacher',
    'load_open_clip',
    'read_names',
    'teacher_view',
]
