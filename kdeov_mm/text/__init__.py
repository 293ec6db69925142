"""Class names, prompt templates and CLIP's tokenizer, without torch and MMEngine."""

from .class_names import check_class_names, read_class_names, read_synonyms, read_thresholds
from .lexicon import LEXICONS, Lexicon
from .templates import (
    TEMPLATE_SETS,
    average_prompts,
    build_prompts,
    check_templates,
    fill,
    resolve_templates,
    template_set,
)
from .tokenizer import Tokenizer

__all__ = [
    'LEXICONS',
    'Lexicon',
    'TEMPLATE_SETS',
    'Tokenizer',
    'average_prompts',
    'build_prompts',
    'check_class_names',
    'check_templates',
    'fill',
    'read_class_names',
    'read_synonyms',
    'read_thresholds',
    'resolve_templates',
    'template_set',
]
