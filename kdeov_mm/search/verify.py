"""Checks of the integrity of an index."""

import hashlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.files import open_regular
from kdeov_mm.utils.image_files import MAX_IMAGE_BYTES
from .store import ImageStore, storage_errors

ROWS = 10_000  # read at a time
TOLERANCE = 1e-3  # of an embedding's length
EXAMPLES = 5  # examples of one problem


def check_index(store: ImageStore, files: bool = False) -> list[str]:
    """Read all of an index and report its problems.

    Args:
        store: The index.
        files: Also read the image files, and compare their content.

    Returns:
        list: Descriptions of the problems; empty if there are none.
    """
    hashes, paths, bad, changed = Counter(), Counter(), [], []
    try:
        with storage_errors(store.folder):
            for batch in store.images.search().to_batches(ROWS):
                columns = {name: [value or '' for value in batch[name].to_pylist()] for name in ('sha256', 'path')}
                hashes.update(columns['sha256'])
                paths.update(columns['path'])
                right = np.abs(lengths(batch['embedding'], store.model.dims) - 1) < TOLERANCE
                bad += [path for path, is_right in zip(columns['path'], right) if not is_right]  # also NaN
                if files:
                    changed += [path for sha256, path in zip(*columns.values()) if content_of(path) != sha256]
            skipped = store.skipped.search().select(['path']).to_list()
    except (ValueError, OSError) as error:
        return [f'cannot be read: {printable(" ".join(str(error).split()))[:300]}']
    paths.update(row['path'] or '' for row in skipped)
    without_path = paths.pop('', 0)
    return [
        *([f'{without_path} rows without a path; rebuild the index'] if without_path else []),
        *problem_line('duplicate contents', repeated(hashes)),
        *problem_line('duplicate files', repeated(paths)),
        *problem_line('embeddings that are not normalised', bad),
        *problem_line('files that are missing or have changed; run "add" or "remove --missing"', changed),
    ]


def lengths(embeddings: pa.Array, dims: int) -> np.ndarray:
    """Return the Euclidean lengths of embeddings; NaN for missing ones."""
    norms = np.full(len(embeddings), np.nan, np.float32)
    present = embeddings.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dims)
    norms[embeddings.is_valid().to_numpy(zero_copy_only=False)] = np.linalg.norm(present, axis=1)
    return norms


def content_of(path: str) -> str:
    """Return the SHA-256 of a regular file, or an empty string if the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path, MAX_IMAGE_BYTES, 'image') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except (ValueError, OSError):
        return ''
    return digest.hexdigest()


def repeated(counts: Counter) -> list[str]:
    """Return what was counted more than once."""
    return [value for value, count in counts.items() if count > 1]


def problem_line(problem: str, cases: list[str]) -> Iterator[str]:
    """Yield one line for a problem if there are cases of it."""
    if cases:
        more = ', ...' if len(cases) > EXAMPLES else ''
        yield f'{len(cases)} {problem}: {printable(", ".join(cases[:EXAMPLES]))}{more}'
