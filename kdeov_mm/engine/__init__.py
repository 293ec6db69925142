"""Loops, hooks and optimizer wrappers."""

from . import hooks
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .cached_test_loop import CachedTestLoop
from .loops import MultiTestLoop
from .resumable_loop import ResumableTrainLoop

__all__ = ['BFloat16OptimWrapper', 'CachedTestLoop', 'MultiTestLoop', 'ResumableTrainLoop', 'hooks']
