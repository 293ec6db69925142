"""A text encoder that reads precomputed embeddings from a file."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmyolo.registry import MODELS
from safetensors.torch import load_file
from torch import Tensor

from kdeov_mm.text import check_class_names, read_class_names
from kdeov_mm.utils.arrays import read_npy
from kdeov_mm.utils.embeddings import normalize_rows
from kdeov_mm.utils.errors import InputError


def read_embeddings(path: str) -> Tensor:
    """Read precomputed text embeddings.

    Args:
        path: A ``.npy`` file, or a ``.safetensors`` file with one tensor; ``[N, D]`` of floating-point numbers.

    Returns:
        Tensor: float32, L2-normalised, ``[N, D]``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the format is another, or a row is zero, not finite, or too large to normalise.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'embeddings: no file {path!r}')
    try:
        tensors = (
            list(load_file(path).values())
            if Path(path).suffix == '.safetensors'
            else [torch.from_numpy(read_npy(path))]
        )
    except InputError:
        raise
    except Exception as error:  # each format has errors of its own
        raise InputError(
            f'embeddings: {path!r} is neither a .npy file of numbers nor a .safetensors file: {error}'
        ) from error
    if len(tensors) != 1 or tensors[0].ndim != 2 or not tensors[0].numel() or not tensors[0].is_floating_point():
        contents = [f'{list(tensor.shape)} {str(tensor.dtype).removeprefix("torch.")}' for tensor in tensors]
        raise InputError(f'embeddings: {path!r} must hold one array [N, D] of floating-point numbers, got {contents}')
    return normalize_rows(tensors[0], lambda row: f'embeddings: {path!r}, row {row} (counted from 0)')


@MODELS.register_module()
class PrecomputedTextEncoder:
    """Looks class names up in a file of precomputed embeddings, so that no CLIP weights are needed.

    Args:
        embeddings: A ``.npy`` or ``.safetensors`` file with one row for each class name, ``[N, D]``.
        names: The class names in row order: a list, or a file for :func:`read_class_names`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the array is not ``[N, D]`` and finite, if N is not the number of class names, or if
            the names are bad.
    """

    def __init__(self, embeddings: str, names: str | Sequence[str]) -> None:
        self.table = read_embeddings(embeddings)
        names = read_class_names(names) if isinstance(names, str) else list(names)
        check_class_names(names)
        if len(self.table) != len(names):
            raise ValueError(
                f'embeddings: {embeddings!r} has shape {tuple(self.table.shape)}, but there are '
                f'{len(names)} class names; give one row for each class name'
            )
        self.rows = {name: row for row, name in enumerate(names)}

    teacher = None  # the file does not name its CLIP
    templates, synonyms = 'none', None  # both are in the embeddings already

    @property
    def id(self) -> None:
        """None: the embeddings need no cache; they contain their templates and synonyms."""
        return None

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Look texts up; float32, L2-normalised, ``[N, D]``."""
        missing: list[str] = [text for text in texts if text not in self.rows]
        if missing:
            raise ValueError(
                f'names: no embedding for {missing[:5]!r} ({len(missing)} of {len(texts)}); '
                'the file holds names such as ' + ', '.join(list(self.rows)[:3])
            )
        return self.table[[self.rows[text] for text in texts]]
