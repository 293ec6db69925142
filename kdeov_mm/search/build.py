"""Filling of an index: threads read and decode images, and each ``commit_size`` files are a transaction."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from kdeov_mm.utils.display import printable
from .load import Loaded, Source, load
from .store import DUPLICATE, ImageStore, is_utf8

THUMBNAIL = 160  # pixels
NOT_UTF8 = 'its name is not UTF-8, so no index can hold it; rename the file'


@dataclass
class Report:
    """Counts what happened to the files.

    Attributes:
        files: Number of given files.
        unchanged: Number of files that the index already had, with the same size and modification time.
        added: Number of new images.
        duplicates: Number of files whose content is in the index under another path.
        broken: Reason for each file that cannot be read, by path. Bytes of a path that are not UTF-8 are escaped.
    """

    files: int = 0
    unchanged: int = 0
    added: int = 0
    duplicates: int = 0
    broken: dict[str, str] = field(default_factory=dict)


def update_index(
    paths: Iterable[str],
    store: ImageStore,
    encoder: Any,
    batch_size: int = 32,
    commit_size: int = 1024,
    workers: int | None = None,
    thumbnail: int = THUMBNAIL,
    progress: Callable[[int], object] = lambda files: None,
) -> Report:
    """Add new images to an index; an interrupted run resumes when it is started again.

    Files are identified by path, size and modification time, and images by their content. A changed file replaces its
    earlier version. After ``kill -9`` committed images stay, and files of the open transaction are embedded again.

    Args:
        paths: Image files.
        store: The index.
        encoder: An :class:`IndexEncoder` or an object with its ``prepare``, ``encode`` and ``min_size``.
        batch_size: Images in one run of the model.
        commit_size: Files in one transaction.
        workers: Threads that read and decode; default: the number of cores minus one for the model.
        thumbnail: Longer side of thumbnails in pixels; 0: none.
        progress: Called with the number of files processed since the last call.

    Raises:
        ValueError: If a size is not positive, or another process is writing.
    """
    workers = max(1, os.cpu_count() - 1) if workers is None else workers
    check_sizes(batch_size=batch_size, commit_size=commit_size, workers=workers, thumbnail=thumbnail)
    report = Report()
    with store.writing(), ThreadPoolExecutor(workers) as pool:
        loading = partial(load, prepare=encoder.prepare, min_size=encoder.min_size, thumbnail=thumbnail)
        files = new_files(unique(paths), store, report, commit_size, progress)
        loaded = in_order(pool, loading, files, ahead=2 * batch_size + workers)
        for group in grouped(embedded(loaded, encoder, batch_size), commit_size):
            commit(store, group, report)
            progress(len(group))
        store.optimize()
    return report


def check_sizes(**sizes: int) -> None:
    """Raise ValueError for a size that is not positive; a thumbnail's may be 0."""
    for name, value in sizes.items():
        min_value = 0 if name == 'thumbnail' else 1
        if value < min_value:
            raise ValueError(f'{name}: must be at least {min_value}, got {value}')


def unique(paths: Iterable[str]) -> list[str]:
    """Return absolute paths without duplicates."""
    return list(dict.fromkeys(map(os.path.abspath, paths)))


def new_files(
    paths: Iterable[str],
    store: ImageStore,
    report: Report,
    size: int,
    progress: Callable[[int], object] = lambda files: None,
) -> Iterator[Source]:
    """Yield files that are not in the index or have changed, and count the others in the report.

    Args:
        paths: Absolute paths without duplicates.
        store: The index.
        report: Counts that are updated.
        size: Number of paths in one query of the index.
        progress: See :func:`update_index`.
    """
    for part in grouped(paths, size):
        report.files += len(part)
        not_utf8 = [path for path in part if not is_utf8(path)]  # reported each time, since no table can hold them
        report.broken.update((printable(path), NOT_UTF8) for path in not_utf8)
        part = [path for path in part if is_utf8(path)] if not_utf8 else part
        progress(len(not_utf8))
        known = store.known(part)
        new = []
        for source in map(Source.of, part):
            before = known.get(source.path)
            if before != (source.size, source.mtime_ns):
                source.changed = before is not None
                new.append(source)
        report.unchanged += len(part) - len(new)
        progress(len(part) - len(new))
        yield from new


def in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Yield the results of a function in order, computed by threads up to ``ahead`` items in advance."""
    waiting: deque = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def grouped(items: Iterable, size: int) -> Iterator[list]:
    """Yield lists of ``size`` items; the last may be shorter."""
    items = iter(items)
    while group := list(islice(items, size)):
        yield group


def embedded(loaded: Iterable[Loaded], encoder: Any, batch_size: int) -> Iterator[dict]:
    """Yield a row for each file: with ``embedding`` for the table of images, with ``reason`` for skipped files."""
    for group in grouped(loaded, batch_size):
        good = [item for item in group if item.defect is None]
        embeddings = iter(encoder.encode([item.ready for item in good]) if good else ())
        for item in group:
            row = dict(
                path=item.source.path,
                size=item.source.size,
                mtime_ns=item.source.mtime_ns,
                sha256=item.sha256,
                changed=item.source.changed,
            )
            if item.defect is None:
                row.update(width=item.width, height=item.height, thumbnail=item.thumbnail, embedding=next(embeddings))
            else:
                row.update(reason=item.defect)
            yield row


def commit(store: ImageStore, rows: list[dict], report: Report) -> None:
    """Write a batch of rows from :func:`embedded`; images with the same content are written once."""
    changed = [row['path'] for row in rows if row['changed']]
    if changed:
        store.forget(changed)
    known = store.known_content([row['sha256'] for row in rows if 'embedding' in row])
    images, skipped = [], []
    for row in rows:
        row = {name: value for name, value in row.items() if name != 'changed'}
        if 'reason' in row:
            report.broken[row['path']] = row['reason']
            skipped.append(row)
        elif known.setdefault(row['sha256'], row['path']) != row['path']:
            names = ('path', 'size', 'mtime_ns', 'sha256')
            skipped.append(dict({name: row[name] for name in names}, reason=DUPLICATE))
            report.duplicates += 1
        else:
            images.append(row)
    report.added += store.commit(images, skipped)
