"""Loops and hooks."""
from . import hooks
from .loops import MultiTestLoop

__all__ = ['MultiTestLoop', 'hooks']
