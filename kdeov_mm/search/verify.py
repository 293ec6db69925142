"""Whether an index is whole."""

import hashlib
from collections import Counter
from typing import Iterator, List

import numpy as np
import pyarrow as pa

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.files import open_regular
from kdeov_mm.utils.image_files import MAX_IMAGE_BYTES
from .store import ImageStore, storage_errors

ROWS = 10_000  # read at a time
TOLERANCE = 1e-3  # of an embedding's length
TOLD = 5  # examples of one problem


def check_index(store: ImageStore, files: bool = False) -> List[str]:
    """Read all of an index.

    Args:
        store: The index.
        files: Also read the image files, and compare their content.

    Returns:
        list: Its problems, in words; empty if there are none.
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
    nameless = paths.pop('', 0)
    return [
        *([f'{nameless} rows that have no path; build it anew'] if nameless else []),
        *told('content that is there more than once', repeated(hashes)),
        *told('files that are there more than once', repeated(paths)),
        *told('embeddings that are not normalised', bad),
        *told('files that are missing or have changed; run "add" or "remove --missing"', changed),
    ]


def lengths(embeddings: pa.Array, dims: int) -> np.ndarray:
    """Return the Euclidean lengths of embeddings; NaN where there is none."""
    found = np.full(len(embeddings), np.nan, np.float32)
    there = embeddings.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, dims)
    found[embeddings.is_valid().to_numpy(zero_copy_only=False)] = np.linalg.norm(there, axis=1)
    return found


def content_of(path: str) -> str:
    """Return the SHA-256 of a regular file, or nothing if there is none that can be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path, MAX_IMAGE_BYTES, 'image') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                digest.update(block)
    except (ValueError, OSError):
        return ''
    return digest.hexdigest()


def repeated(counts: Counter) -> List[str]:
    """What was counted more than once."""
    return [value for value, count in counts.items() if count > 1]


def told(problem: str, found: List[str]) -> Iterator[str]:
    """One line for a problem that occurs."""
    if found:
        yield f'{len(found)} {problem}: {printable(", ".join(found[:TOLD]))}{", ..." if len(found) > TOLD else ""}'
