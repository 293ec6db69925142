"""Use of a trained model on one's own images and words."""
from .detection import build_vocabulary, detect, inference_pipeline, load_model
from .inferencer import KDEOVInferencer
from .results import ClassificationResult, DetectionResult, EmbeddingResult, Match, Results, SearchResult
from .sources import InputImage, find_images, open_images

__all__ = [
    'ClassificationResult', 'DetectionResult', 'EmbeddingResult', 'InputImage', 'KDEOVInferencer', 'Match', 'Results',
    'SearchResult', 'build_vocabulary', 'detect', 'find_images', 'inference_pipeline', 'load_model', 'open_images'
]
