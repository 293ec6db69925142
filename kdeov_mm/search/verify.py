"""Whether an index is whole."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Iterator, List

import numpy as np

from .store import ImageStore

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
        for batch in store.images.search().to_batches(ROWS):
            columns = {name: batch[name].to_pylist() for name in ('sha256', 'path')}
            hashes.update(columns['sha256'])
            paths.update(columns['path'])
            embeddings = batch['embedding'].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
            wrong = ~(np.abs(np.linalg.norm(embeddings, axis=1) - 1) < TOLERANCE)  # also NaN
            bad += [path for path, is_wrong in zip(columns['path'], wrong) if is_wrong]
            if files:
                changed += [path for sha256, path in zip(*columns.values()) if content_of(path) != sha256]
        skipped = store.skipped.search().select(['path']).to_list()
    except RuntimeError as error:  # LanceDB's own
        return [f'cannot be read: {" ".join(str(error).split())[:300]}']
    paths.update(row['path'] for row in skipped)
    return [
        *told('content that is there more than once', repeated(hashes)),
        *told('files that are there more than once', repeated(paths)),
        *told('embeddings that are not normalised', bad),
        *told('files that are missing or have changed; run "add" or "remove --missing"', changed),
    ]


def content_of(path: str) -> str:
    """The SHA-256 of a file, or nothing if there is none."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ''


def repeated(counts: Counter) -> List[str]:
    """What was counted more than once."""
    return [value for value, count in counts.items() if count > 1]


def told(problem: str, found: List[str]) -> Iterator[str]:
    """One line for a problem that occurs."""
    if found:
        yield f'{len(found)} {problem}: {", ".join(found[:TOLD])}{", ..." if len(found) > TOLD else ""}'
