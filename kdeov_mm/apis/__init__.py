"""Use of a trained model on one's own images and words."""
from .detection import build_vocabulary, detect, find_images, inference_pipeline, load_model

__all__ = ['build_vocabulary', 'detect', 'find_images', 'inference_pipeline', 'load_model']
