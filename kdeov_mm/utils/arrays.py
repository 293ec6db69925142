"""Arrays from files that somebody else may have written; NumPy only."""

from pathlib import Path
from typing import Union

import numpy as np

from .display import printable
from .errors import InputError

MIN_NORM, MAX_NORM = 1e-12, 1e18  # of an embedding: its square is a finite float32, and to divide by it is safe


def read_npy(path: Union[str, Path], what: str = 'embeddings') -> np.ndarray:
    """Read an array of numbers from a ``.npy`` file.

    The array is mapped before it is read: a header that claims more rows than the file has allocates nothing.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is another file, an archive, or an array of Python objects, which would be unpickled.
    """
    name = printable(str(path))
    if not Path(path).is_file():
        raise FileNotFoundError(f'{what}: no file "{name}"')
    try:
        with np.errstate(all='ignore'):
            array = np.load(path, mmap_mode='r', allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError('it is an archive')
        return np.array(array)
    except Exception as error:  # NumPy raises anything from EOFError to SyntaxError
        reason = printable(str(error))[:200]
        raise InputError(f'{what}: "{name}" is no .npy file of numbers ({reason}); write it with numpy.save') from error


def find_bad_row(rows: np.ndarray) -> int:
    """Return the first row of ``[N, D]`` that cannot be normalised in float32, or -1.

    Such a row holds NaN or infinity, is zero, or has a norm that float32 cannot square.
    """
    if not rows.size:  # a header may claim rows by the trillion if they have no columns
        return 0 if len(rows) else -1
    with np.errstate(all='ignore'):
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    bad = ~((norms >= MIN_NORM) & (norms <= MAX_NORM))
    return int(bad.argmax()) if bad.any() else -1
