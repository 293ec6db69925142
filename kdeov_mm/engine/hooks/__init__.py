"""Hooks for checkpoints, distillation, vocabulary, seeds, checks of losses, logs and reports."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .broken_images_hook import BrokenImagesHook
from .clip_distillation_hook import CLIPDistillationHook
from .epoch_seed_hook import EpochSeedHook
from .first_step import FirstStepHook
from .loss_guard_hook import LossGuardHook
from .network_time_hook import NetworkTimeHook
from .report_hook import ReportHook
from .resumable_early_stopping_hook import ResumableEarlyStoppingHook
from .text_encoder_hook import TextEncoderHook
from .throughput_hook import ThroughputHook
from .vocabulary_hook import VocabularyHook

FirstStep, TextTowerHook = FirstStepHook, TextEncoderHook  # the old names

__all__ = [
    'AtomicCheckpointHook',
    'BrokenImagesHook',
    'CLIPDistillationHook',
    'EpochSeedHook',
    'FirstStep',
    'FirstStepHook',
    'LossGuardHook',
    'NetworkTimeHook',
    'ReportHook',
    'ResumableEarlyStoppingHook',
    'TextEncoderHook',
    'TextTowerHook',
    'ThroughputHook',
    'VocabularyHook',
]
