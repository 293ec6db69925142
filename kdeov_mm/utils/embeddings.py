"""Embeddings as PyTorch's tensors."""

from typing import Callable

import torch.nn.functional as F
from torch import Tensor

from .arrays import find_bad_row
from .errors import InputError


def normalize_rows(rows: Tensor, where: Callable[[int], str]) -> Tensor:
    """Return rows ``[N, D]`` as float32, L2-normalised.

    Args:
        rows: Floating-point numbers of any precision.
        where: Says which row a number is, for the message.

    Raises:
        InputError: If a row is NaN, infinite, zero, or so large or small that its norm leaves float32.
    """
    bad = find_bad_row(rows.detach().cpu().double().numpy())
    if bad >= 0:
        raise InputError(
            f'an embedding holds NaN or infinite values, only zeros, or numbers too large or small to normalise: '
            f'{where(bad)}; make the file again'
        )
    return F.normalize(rows.float(), dim=-1)
