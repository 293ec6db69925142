"""Models: the student, its parts, and the frozen side."""

from .assigner import ClassAgnosticTaskAlignedAssigner
from .baselines import TeacherModel, TimmClassifier, YOLOWorld
from .clip import (
    EnsembleTeacher,
    EnsembleTextEncoder,
    OpenCLIPTeacher,
    OpenCLIPTextEncoder,
    PrecomputedTextEncoder,
    TextBank,
    build_text_encoder,
)
from .dual_encoder import OpenCLIPDualEncoder
from .fusion import CrossAttentionFusion, FiLMFusion
from .kdeov import KDEOV
from .losses import (
    ContrastiveRelationalLoss,
    CrossModalAlignmentLoss,
    DistillationLoss,
    FeatureAlignmentLoss,
    InteractiveContrastiveLoss,
    SigmoidLoss,
    SimilarityDistillationLoss,
)
from .open_vocab_head import OpenVocabHead
from .open_vocab_head_module import OpenVocabHeadModule
from .projector import Projector

__all__ = [
    'ClassAgnosticTaskAlignedAssigner',
    'ContrastiveRelationalLoss',
    'CrossAttentionFusion',
    'CrossModalAlignmentLoss',
    'DistillationLoss',
    'EnsembleTeacher',
    'EnsembleTextEncoder',
    'FeatureAlignmentLoss',
    'FiLMFusion',
    'InteractiveContrastiveLoss',
    'KDEOV',
    'OpenCLIPDualEncoder',
    'OpenCLIPTeacher',
    'OpenCLIPTextEncoder',
    'OpenVocabHead',
    'OpenVocabHeadModule',
    'PrecomputedTextEncoder',
    'Projector',
    'SigmoidLoss',
    'SimilarityDistillationLoss',
    'TeacherModel',
    'TextBank',
    'TimmClassifier',
    'YOLOWorld',
    'build_text_encoder',
]
