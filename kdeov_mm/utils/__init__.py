"""Checks of what a user gives to the tools, before any long work."""

from .checkpoint import (
    check_checkpoint,
    check_weights,
    export_weights,
    find_resume,
    is_finished,
    load_weights,
    resolve_checkpoint,
)
from .config import load_config
from .data import prepare_data
from .errors import FirstStep, InputError, user_errors
from .launch import check_at_least, enable_amp, parse_launched, set_launcher
from .model import unwrap
from .model_index import find_model

__all__ = [
    'FirstStep',
    'InputError',
    'check_at_least',
    'check_checkpoint',
    'check_weights',
    'enable_amp',
    'export_weights',
    'find_model',
    'find_resume',
    'is_finished',
    'load_config',
    'load_weights',
    'parse_launched',
    'prepare_data',
    'resolve_checkpoint',
    'set_launcher',
    'unwrap',
    'user_errors',
]
