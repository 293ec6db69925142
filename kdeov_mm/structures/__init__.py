"""Results of API, exported models, search and demo: plain data in NumPy, light to import."""

from .classification import ClassificationResult, softmax
from .detections import Detections
from .image_competitors import ImageCompetitors
from .results import ImageSource, Result, Results
from .retrieval import EmbeddingResult, Match, SearchResult

__all__ = [
    'ClassificationResult',
    'Detections',
    'EmbeddingResult',
    'ImageCompetitors',
    'ImageSource',
    'Match',
    'Result',
    'Results',
    'SearchResult',
    'softmax',
]
