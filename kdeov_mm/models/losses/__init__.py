"""Losses between the student's embeddings and those of teacher and text encoder."""

from .contrastive import CrossModalAlignmentLoss, InteractiveContrastiveLoss
from .distillation import DistillationLoss, SimilarityDistillationLoss, weighted_mean
from .feature_alignment import FeatureAlignmentLoss

__all__ = [
    'CrossModalAlignmentLoss',
    'DistillationLoss',
    'FeatureAlignmentLoss',
    'InteractiveContrastiveLoss',
    'SimilarityDistillationLoss',
    'weighted_mean',
]
