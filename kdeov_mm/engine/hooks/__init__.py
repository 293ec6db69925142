"""Hooks: distillation, vocabulary, seeds, report."""
from .broken_images_hook import BrokenImagesHook
from .clip_distillation_hook import CLIPDistillationHook
from .epoch_seed_hook import EpochSeedHook
from .report_hook import ReportHook
from .vocabulary_hook import VocabularyHook

__all__ = ['BrokenImagesHook', 'CLIPDistillationHook', 'EpochSeedHook', 'ReportHook', 'VocabularyHook']
