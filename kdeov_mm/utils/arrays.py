"""Reading of arrays from untrusted files; NumPy only."""

from pathlib import Path

import numpy as np

from .display import printable
from .errors import InputError
from .files import open_regular

MAX_NPY_BYTES = 8 * 2**30
MIN_NORM, MAX_NORM = 1e-12, 1e18  # of an embedding: its square is a finite float32, and dividing by it is safe


def read_npy(path: str | Path, what: str = 'embeddings') -> np.ndarray:
    """Read an array of numbers from a ``.npy`` file.

    The array is mapped before it is read: a header that claims more rows than the file has allocates nothing.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If the file is special, an archive, damaged or too large, or holds Python objects, which would be
            unpickled.
    """
    with open_regular(path, MAX_NPY_BYTES, what):  # NumPy maps files by their path
        try:
            with np.errstate(all='ignore'):
                array = np.load(path, mmap_mode='r', allow_pickle=False)
            if not isinstance(array, np.ndarray):
                raise ValueError('it is an archive')
            return np.array(array)
        except Exception as error:  # NumPy raises anything from EOFError to SyntaxError
            name, reason = printable(str(path)), printable(str(error))[:200]
            raise InputError(
                f'{what}: "{name}" is no .npy file of numbers ({reason}); write it with numpy.save'
            ) from error


def find_bad_row(rows: np.ndarray) -> int:
    """Return the index of the first row of ``[N, D]`` that cannot be normalised in float32, or -1.

    Such a row holds NaN or infinity, is zero, or has a norm outside of ``MIN_NORM`` to ``MAX_NORM``.
    """
    if not rows.size:  # a header may claim trillions of rows without columns
        return 0 if len(rows) else -1
    with np.errstate(all='ignore'):
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    bad = ~((norms >= MIN_NORM) & (norms <= MAX_NORM))
    return int(bad.argmax()) if bad.any() else -1


def row_defect(row: np.ndarray) -> str:
    """Say why a row that :func:`find_bad_row` found cannot be normalised, such as ``has the norm 3e+38``."""
    with np.errstate(all='ignore'):
        norm = float(np.linalg.norm(row.astype(np.float64)))
    if not np.isfinite(row).all():
        return 'holds NaN or infinity'
    return f'has the norm {norm:.3g}, expected {MIN_NORM:g} to {MAX_NORM:g}' if norm else 'is zero'
