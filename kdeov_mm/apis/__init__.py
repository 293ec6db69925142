"""Inference and training with Python, on images and class names of the user.

Attributes are imported on first use, as exported models need neither torch nor MMEngine.
"""

from typing import TYPE_CHECKING

from kdeov_mm.structures import ClassificationResult, Detections, EmbeddingResult, Match, Results, SearchResult
from kdeov_mm.utils.lazy import import_when_used

if TYPE_CHECKING:
    from .build import ImageTextModel, build_kdeov, student_config
    from .detection import build_vocabulary, inference_pipeline, load_model
    from .fit import fit_alignment
    from .inferencer import KDEOVInferencer
    from .sources import InputImage, find_images, open_images

DetectionResult = Detections  # the old name
MODULES = dict(
    ImageTextModel='.build',
    InputImage='.sources',
    KDEOVInferencer='.inferencer',
    build_kdeov='.build',
    build_vocabulary='.detection',
    find_images='.sources',
    fit_alignment='.fit',
    inference_pipeline='.detection',
    load_model='.detection',
    open_images='.sources',
    student_config='.build',
)

__all__ = [
    'ClassificationResult',
    'DetectionResult',
    'Detections',
    'EmbeddingResult',
    'ImageTextModel',
    'InputImage',
    'KDEOVInferencer',
    'Match',
    'Results',
    'SearchResult',
    'build_kdeov',
    'build_vocabulary',
    'find_images',
    'fit_alignment',
    'inference_pipeline',
    'load_model',
    'open_images',
    'student_config',
]
__getattr__ = import_when_used(__name__, MODULES)
