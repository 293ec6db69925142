"""Hooks: distillation, vocabulary, seeds."""
from .clip_distillation_hook import CLIPDistillationHook
from .epoch_seed_hook import EpochSeedHook
from .vocabulary_hook import VocabularyHook

__all__ = ['CLIPDistillationHook', 'EpochSeedHook', 'VocabularyHook']
