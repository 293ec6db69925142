"""Use of a trained model on one's own images and words."""

from kdeov_mm.structures import ClassificationResult, Detections, EmbeddingResult, Match, Results, SearchResult

from .build import ImageTextModel, build_kdeov, student_config
from .detection import build_vocabulary, inference_pipeline, load_model
from .fit import fit_alignment
from .inferencer import KDEOVInferencer
from .sources import InputImage, find_images, open_images

DetectionResult = Detections  # the former name

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
