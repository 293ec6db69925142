"""Losses between the student's embeddings and the frozen side's."""

from .contrastive import CrossModalAlignmentLoss, InteractiveContrastiveLoss
from .distillation import DistillationLoss, SimilarityDistillationLoss, weighted_mean
from .feature_alignment import FeatureAlignmentLoss
from .relational import ContrastiveRelationalLoss
from .sigmoid import SigmoidLoss

__all__ = [
    'ContrastiveRelationalLoss',
    'CrossModalAlignmentLoss',
    'DistillationLoss',
    'FeatureAlignmentLoss',
    'InteractiveContrastiveLoss',
    'SigmoidLoss',
    'SimilarityDistillationLoss',
    'weighted_mean',
]
