"""Results of API, exported models, search and demo: plain data in NumPy, light to import."""

from .classification import ClassificationResult, softmax
from .detections import Detections
from .image_competitors import ImageCompetitors
from .results import ImageSource, Result, Results
from .retrieval import EmbeddingResult, Match, SearchResult
from .thresholds import DEFAULT_THRESHOLD, ScoreThreshold, resolve_thresholds

__all__ = [
    'ClassificationResult',
    'DEFAULT_THRESHOLD',
    'Detections',
    'EmbeddingResult',
    'ImageCompetitors',
    'ImageSource',
    'Match',
    'Result',
    'Results',
    'ScoreThreshold',
    'SearchResult',
    'resolve_thresholds',
    'softmax',
]
