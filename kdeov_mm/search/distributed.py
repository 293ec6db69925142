"""Building of an index on several machines: Ray Data reads and embeds images, one process writes."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from .build import THUMBNAIL, Report, check_sizes, commit, embedded, new_files, unique
from .encoder import IndexEncoder
from .load import Source, load
from .store import ImageStore

try:
    import ray
    from ray._private import ray_constants
    from ray.job_config import JobConfig
except ImportError as error:
    raise ImportError(f'several machines need Ray ({error}); run "pip install kdeov_mm[distributed]"') from error

TASK_FILES = 256  # files in one Ray task, the maximum that is embedded again when a machine fails
COLUMNS = ('path', 'size', 'mtime_ns', 'changed')


def update_index_distributed(
    paths: Iterable[str],
    store: ImageStore,
    model_file: str,
    batch_size: int = 32,
    commit_size: int = 1024,
    thumbnail: int = THUMBNAIL,
    task_files: int = TASK_FILES,
    min_size: int | None = None,
    progress: Callable[[int], object] = lambda files: None,
) -> Report:
    """Embed files on a Ray cluster and write them from this process; otherwise as :func:`update_index`.

    Tasks have no side effects. Ray repeats tasks of a failed machine, and duplicates are written once.

    Args:
        paths, store, batch_size, commit_size, thumbnail, progress: See :func:`update_index`.
        model_file: ONNX file of the image encoder. All machines need it, and the images, under the same path.
        task_files: Files in one Ray task.
        min_size: See :class:`IndexEncoder`.

    Raises:
        ValueError: If a size is not positive, or another process is writing.
        RuntimeError: If Ray would listen on the network; see :func:`connect`.
    """
    check_sizes(batch_size=batch_size, commit_size=commit_size, task_files=task_files, thumbnail=thumbnail)
    report = Report()
    connect()
    with store.writing():
        files = [
            {name: getattr(source, name) for name in COLUMNS}
            for source in new_files(unique(paths), store, report, commit_size, progress)
        ]
        if files:
            blocks = -(-len(files) // task_files)
            rows = ray.data.from_items(files, override_num_blocks=blocks).map_batches(
                embed_files,
                batch_size=None,
                batch_format='numpy',
                num_cpus=1,
                fn_kwargs=dict(model_file=model_file, min_size=min_size, batch_size=batch_size, thumbnail=thumbnail),
            )
            for group in rows.iter_batches(batch_size=commit_size, batch_format='pyarrow'):
                commit(store, [without_none(row) for row in group.to_pylist()], report)
                progress(len(group))
        store.optimize()
    return report


class OwnPath(JobConfig):
    """Keeps workers from importing modules of the current directory, which may be an unpacked archive.

    Ray puts that directory first in their ``sys.path``, unless the job brings a directory of its own.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one that only this machine can reach.

    By default Ray listens on all interfaces and runs code from anyone who can connect. It also joins a cluster that any
    user of this machine has started; 'local' prevents this.

    Raises:
        RuntimeError: If other machines could reach the Ray that was started.
    """
    if ray.is_initialized():
        return
    if os.environ.get('RAY_ADDRESS'):
        ray.init(log_to_driver=False)
        return
    # Ray replaces a given 127.0.0.1 by the address of the network, unless clusters are switched off. The variable is
    # for the processes that Ray starts; this process has read it already, when it imported Ray.
    os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'
    ray_constants.ENABLE_RAY_CLUSTER = False
    job = OwnPath()
    job._py_driver_sys_path = [str(Path(__file__).resolve().parents[2])]  # where kdeov_mm is
    ray.init('local', include_dashboard=False, log_to_driver=False, job_config=job)
    address = ray.util.get_node_ip_address()
    if not ip_address(address).is_loopback:
        ray.shutdown()
        raise RuntimeError(
            f'Ray {ray.__version__} listens on {address}, where other machines reach it; '
            f'start a cluster yourself and name it in RAY_ADDRESS'
        )


@lru_cache(maxsize=1)
def encoder_of(model_file: str, min_size: int | None) -> IndexEncoder:
    """Load the model of this process once, with one thread, since each task has one CPU."""
    return IndexEncoder(model_file, threads=1, min_size=min_size)


def embed_files(files: dict, model_file: str, min_size: int | None, batch_size: int, thumbnail: int) -> dict:
    """Embed one task's files and return columns, with None for missing values."""
    encoder = encoder_of(model_file, min_size)
    sources = (Source(**dict(zip(files, values))) for values in zip(*(column.tolist() for column in files.values())))
    loaded = (load(source, encoder.prepare, encoder.min_size, thumbnail) for source in sources)
    return as_columns(embedded(loaded, encoder, batch_size))


def as_columns(rows: Iterator[dict]) -> dict:
    """Convert rows to columns."""
    rows: list[dict] = list(rows)
    names = ('path', 'size', 'mtime_ns', 'changed', 'sha256', 'reason', 'width', 'height', 'thumbnail', 'embedding')
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns['embedding'] = [None if value is None else value.tolist() for value in columns['embedding']]
    return columns


def without_none(row: dict) -> dict:
    """Drop None values from a row."""
    return {name: value for name, value in row.items() if value is not None}
