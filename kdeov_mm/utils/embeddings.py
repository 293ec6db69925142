"""Embeddings as PyTorch's tensors."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from .arrays import find_bad_row, row_defect
from .errors import InputError


def normalize_rows(rows: Tensor, where: Callable[[int], str]) -> Tensor:
    """Return rows ``[N, D]`` as float32, L2-normalised.

    Args:
        rows: Floating-point numbers of any precision.
        where: Return the place of a row in its file, for the message.

    Raises:
        InputError: If a row cannot be normalised; see :func:`kdeov_mm.utils.arrays.find_bad_row`.
    """
    values = rows.detach().cpu().double().numpy()
    bad = find_bad_row(values)
    if bad >= 0:
        raise InputError(f'{where(bad)}: the embedding {row_defect(values[bad])}; make the file again')
    return F.normalize(rows.float(), dim=-1)
