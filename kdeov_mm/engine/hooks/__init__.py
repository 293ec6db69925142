"""Hooks: distillation, vocabulary, seeds, report."""
from .clip_distillation_hook import CLIPDistillationHook
from .epoch_seed_hook import EpochSeedHook
from .report_hook import ReportHook
from .vocabulary_hook import VocabularyHook

__all__ = ['CLIPDistillationHook', 'EpochSeedHook', 'ReportHook', 'VocabularyHook']
