"""Models: the student, its parts, the teacher and the text encoders."""

from .assigner import ClassAgnosticTaskAlignedAssigner
from .baselines import TeacherModel, TimmClassifier, YOLOWorld
from .clip import (
    ClassEmbeddings,
    OpenCLIPTeacher,
    OpenCLIPTextEncoder,
    PrecomputedTextEncoder,
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
from .yolo_weights import YOLOWeights

TextBank = ClassEmbeddings  # the old name, for one release

__all__ = [
    'ClassAgnosticTaskAlignedAssigner',
    'ClassEmbeddings',
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
    'YOLOWeights',
    'YOLOWorld',
    'build_text_encoder',
]
