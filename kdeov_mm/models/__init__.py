"""Models: the student, its parts, and the frozen side."""
from .baselines import YOLOWorld
from .clip import OpenCLIPTeacher, OpenCLIPTextEncoder, PrecomputedTextEncoder, TextBank
from .dual_encoder import OpenCLIPDualEncoder
from .fusion import CrossAttentionFusion, FiLMFusion
from .kdeov import KDEOV
from .losses import CrossModalAlignmentLoss, DistillationLoss, SimilarityDistillationLoss
from .open_vocab_head import ClassAgnosticTaskAlignedAssigner, OpenVocabHead, OpenVocabHeadModule
from .projector import Projector

__all__ = [
    'ClassAgnosticTaskAlignedAssigner', 'CrossAttentionFusion', 'CrossModalAlignmentLoss', 'DistillationLoss',
    'FiLMFusion', 'KDEOV', 'OpenCLIPDualEncoder', 'OpenCLIPTeacher', 'OpenCLIPTextEncoder', 'OpenVocabHead',
    'OpenVocabHeadModule', 'PrecomputedTextEncoder', 'Projector', 'SimilarityDistillationLoss', 'TextBank', 'YOLOWorld'
]
