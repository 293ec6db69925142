"""Models: the student, its parts, and the frozen side."""

from .assigner import ClassAgnosticTaskAlignedAssigner
from .baselines import TeacherModel, TimmClassifier, YOLOWorld
from .clip import (
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
    CrossModalAlignmentLoss,
    DistillationLoss,
    FeatureAlignmentLoss,
    InteractiveContrastiveLoss,
    SimilarityDistillationLoss,
)
from .open_vocab_head import OpenVocabHead
from .open_vocab_head_module import OpenVocabHeadModule
from .projector import Projector

__all__ = [
    'ClassAgnosticTaskAlignedAssigner',
    'CrossAttentionFusion',
    'CrossModalAlignmentLoss',
    'DistillationLoss',
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
    'SimilarityDistillationLoss',
    'TeacherModel',
    'TextBank',
    'TimmClassifier',
    'YOLOWorld',
    'build_text_encoder',
]
