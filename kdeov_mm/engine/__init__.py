"""Loops and hooks."""
from . import hooks
from .loops import MultiTestLoop
from .resumable_loop import ResumableTrainLoop

__all__ = ['MultiTestLoop', 'ResumableTrainLoop', 'hooks']
