"""Embedding of text queries."""

import hashlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kdeov_mm.deploy.onnx_file import read_onnx
from kdeov_mm.structures.retrieval import NO_PROBABILITY, Presence
from kdeov_mm.utils.display import printable, short_text
from kdeov_mm.utils.errors import InputError
from .store import Model, is_utf8


def embed_query(text: str, source: str, model: Model) -> np.ndarray:
    """Embed one text.

    Args:
        text: The query.
        source: An exported text encoder (``.onnx``), or a config (``.py``) of a model with a text encoder. A config is
            code and is executed: give a path from the user or from ``kdeov_mm.search.text_encoder_file``, never
            ``store.model.text``.
        model: The image encoder of the index.

    Returns:
        numpy.ndarray: float32, L2-normalised, ``[D]``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the text is empty, or the source is of another type, or its embeddings are not comparable with
            those of the images.
    """
    if not text.strip():
        raise ValueError(f'query: must be a non-empty text, got {text!r}')
    if not is_utf8(text):
        raise InputError(f'query: "{printable(text)}" is not UTF-8; type the text again')
    check_text_source(source)
    if Path(source).suffix == '.onnx':
        from kdeov_mm.deploy.runtime import Runtime

        encoder = Runtime(source)
        space = encoder.metadata.get('text_encoder', {}).get('text_space')
        if model.text_space and space and space != model.text_space:
            raise ValueError(
                f'text encoder: {printable(source)} was exported from {short_text(space)}, but the index holds '
                f'{short_text(model.text_space)}; give the text encoder of the same model with --text'
            )
        embedding = encoder.encode_text([text])[0]
    else:
        from kdeov_mm.models import build_text_encoder
        from kdeov_mm.utils import load_config

        embedding = build_text_encoder(load_config(source).model).encode_text([text])[0].numpy()
    if embedding.shape != (model.dims,):
        raise ValueError(
            f'text encoder: {printable(source)} gives {len(embedding)} dimensions, but {printable(model.path)} has '
            f'{model.dims}; give the text encoder of the same model with --text'
        )
    return embedding


def text_presence(text: str, embedding: np.ndarray, image_encoder: str) -> Presence:
    """Return the function from image embeddings ``[N, D]`` to the probabilities ``[N]`` that they show a text.

    Args:
        text: The query.
        embedding: Its embedding ``[D]``.
        image_encoder: The ONNX file of the image encoder, which has what competes with the text.

    Raises:
        InputError: If the file has no competitors.
        ValueError, FileNotFoundError: If ``kdeov_mm.deploy.Runtime`` refuses the file.
    """
    from kdeov_mm.deploy.runtime import Runtime

    competitors = Runtime(image_encoder).image_competitors
    if competitors is None:
        raise InputError(f'threshold: {printable(str(image_encoder))} has no competitors: {NO_PROBABILITY}')
    return partial(competitors.presence, text=embedding, query=text)


def check_text_source(source: str) -> None:
    """Check that a source of :func:`embed_query` exists, without loading it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither an ONNX file nor a config.
    """
    if not Path(source).is_file():
        raise FileNotFoundError(f'text encoder: no file {source!r}')
    if Path(source).suffix not in ('.onnx', '.py'):
        raise ValueError(f'text encoder: {source!r} is neither an exported text encoder (.onnx) nor a config (.py)')


def remember_text(model: Model, source: str) -> Model:
    """Add the text encoder to the model description of an index, if it is an ONNX file.

    A config is not stored in an index: it is code, and what an index names is never executed.

    Args:
        model: The image encoder of the index.
        source: As for :func:`embed_query`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is neither an ONNX file nor a config, or keeps tensors in other files.
    """
    check_text_source(source)
    if Path(source).suffix != '.onnx':
        return model
    path = os.path.realpath(source)
    return replace(model, text=path, text_sha256=hashlib.sha256(read_onnx(path)).hexdigest())
