"""Use of a trained model on one's own images and words."""

from .build import ImageTextModel, build_kdeov, fit_alignment
from .detection import build_vocabulary, detect, inference_pipeline, load_model
from .inferencer import KDEOVInferencer
from .results import ClassificationResult, DetectionResult, EmbeddingResult, Match, Results, SearchResult
from .sources import InputImage, find_images, open_images

__all__ = [
    'ClassificationResult',
    'DetectionResult',
    'EmbeddingResult',
    'ImageTextModel',
    'InputImage',
    'KDEOVInferencer',
    'Match',
    'Results',
    'SearchResult',
    'build_kdeov',
    'build_vocabulary',
    'detect',
    'find_images',
    'fit_alignment',
    'inference_pipeline',
    'load_model',
    'open_images',
]
