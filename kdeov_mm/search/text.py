"""The embedding of a query in words."""

from pathlib import Path

import numpy as np

from .store import Model


def embed_query(text: str, source: str, model: Model) -> np.ndarray:
    """Embed one text.

    Args:
        text: The query, as a whole sentence or as single words.
        source: An exported text encoder (``.onnx``), or a config (``.py``), whose model's text encoder is
            taken.
        model: The image encoder of the index.

    Returns:
        numpy.ndarray: float32, L2-normalised, ``[D]``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The text is empty, or the source is neither of these, or of another space than the images.
    """
    if not text.strip():
        raise ValueError(f'query: words are needed, got {text!r}')
    check_text_source(source)
    if Path(source).suffix == '.onnx':
        from kdeov_mm.deploy.runtime import Runtime

        encoder = Runtime(source)
        space = encoder.metadata.get('text_encoder', {}).get('text_space')
        if model.text_space and space and space != model.text_space:
            raise ValueError(f'text encoder: {source} is of the space {space}, but the images of {model.text_space}')
        embedding = encoder.encode_text([text])[0]
    else:
        from kdeov_mm.models import build_text_encoder
        from kdeov_mm.utils import load_config

        embedding = build_text_encoder(load_config(source)).encode_text([text])[0].numpy()
    if embedding.shape != (model.dims,):
        raise ValueError(f'text encoder: {source} gives {len(embedding)} dimensions, but {model.path} has {model.dims}')
    return embedding


def check_text_source(source: str) -> None:
    """Check that a source of :func:`embed_query` is there, without loading it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither an ONNX file nor a config.
    """
    if not Path(source).is_file():
        raise FileNotFoundError(f'text encoder: no file {source!r}')
    if Path(source).suffix not in ('.onnx', '.py'):
        raise ValueError(f'text encoder: {source!r} is neither an exported text encoder (.onnx) nor a config (.py)')
