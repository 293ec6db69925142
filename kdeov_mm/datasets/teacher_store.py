"""Stores of a teacher's embeddings on disk: sharded, with checksums, memory-mapped."""

import json
import os
import re
import weakref
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdeov_mm.utils.display import short_repr
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import atomic_path, sha256, write_atomically
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, read_json
from kdeov_mm.utils.lock import lock_folder, may_write
from kdeov_mm.utils.records import OBJECTS, TEXTS, Kind, check_records, check_values

# Only names inside the store's folder are accepted.
SHARD_NAMES = Kind(
    lambda names: all(isinstance(name, str) and re.fullmatch(r'shard-[0-9]{5,9}\.safetensors', name) for name in names),
    'a name such as "shard-00000.safetensors"',
)
IDENTITY, INDEX = 'identity.json', 'index.json'


class TeacherStoreWriter:
    """Writes a store shard by shard; an interrupted run resumes, and several processes may write different shards.

    A store is a folder. ``identity.json`` says what the store was made from, ``shard-*.safetensors`` hold tensors with
    one row for each item, and ``index.json``, written last, lists the shards with their SHA-256.

    A writer locks the folder until it finishes the store, is closed or is deleted, unless ``lock_run`` has locked the
    folder for the whole job.

    Args:
        root: Folder, created if it does not exist.
        identity: What the embeddings depend on (teacher, weights, preprocessing, data); JSON values.
        num_shards: Number of shards of the whole store.

    Raises:
        ValueError: If the folder holds a store of another identity or number of shards, or another writer fills it.
            Then nothing is changed.
    """

    def __init__(self, root: str | Path, identity: Mapping, num_shards: int) -> None:
        self.root, self.num_shards = Path(root), num_shards
        lock = ExitStack()
        self.close = weakref.finalize(self, lock.close)  # a function that unlocks the folder
        if not may_write(root):
            lock.enter_context(lock_folder(root, 'teacher store'))
        content = json.loads(json.dumps(dict(identity, num_shards=num_shards)))
        if not (self.root / IDENTITY).is_file():
            write_atomically(self.root / IDENTITY, json.dumps(content, indent=1, sort_keys=True))
        try:
            check_identity(self.root, content)
        except ValueError:
            self.close()
            raise

    def __enter__(self) -> 'TeacherStoreWriter':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def missing(self, rank: int = 0, world_size: int = 1) -> list[int]:
        """Return the indices of process ``rank``'s shards that are not written yet."""
        return [i for i in range(rank, self.num_shards, world_size) if not self.path(i).is_file()]

    def path(self, index: int) -> Path:
        """Return the file of a shard."""
        return self.root / f'shard-{index:05d}.safetensors'

    def write(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one shard atomically.

        Args:
            index: Index of the shard, from 0.
            tensors: Tensors of the same number of rows; the same names and row shapes in every shard.

        Raises:
            ValueError: If the numbers of rows differ, or the writer is closed.
        """
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f'tensors: must have one number of rows, got {lengths}')
        if not self.close.alive:
            raise ValueError(f'teacher store "{self.root}": this writer is closed; create another one')
        with atomic_path(self.path(index)) as partial:
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial)
            with open(partial, 'rb') as file:
                os.fsync(file.fileno())

    def finish(self) -> bool:
        """Write the index if all shards exist, and return whether they do."""
        if not self.close.alive:
            return not self.missing()
        if self.missing():
            return False
        shards = [dict(file=self.path(i).name, sha256=sha256(self.path(i))) for i in range(self.num_shards)]
        write_atomically(self.root / INDEX, json.dumps(dict(shards=shards), indent=1))
        self.close()
        return True


class TeacherStore:
    """Reads a finished store; the rows of all shards form one table and are read on demand.

    Args:
        root: Folder that ``TeacherStoreWriter`` filled.
        identity: Fields of the identity that the store must have; None accepts any store.

    Raises:
        FileNotFoundError: If there is no finished store in the folder.
        ValueError: If the identity differs, or a shard or one of the JSON files is damaged.
    """

    def __init__(self, root: str | Path, identity: Mapping | None = None) -> None:
        self.root = Path(root)
        if not (self.root / INDEX).is_file():
            state = (
                'is not finished; run the command that makes it again, which resumes it'
                if (self.root / IDENTITY).is_file()
                else 'is no teacher store; make it first'
            )
            raise FileNotFoundError(f'teacher store "{self.root}" {state}')
        if identity is not None:
            self.check(identity)
        self.identity = read_metadata(self.root / IDENTITY)
        source = f'teacher store: "{self.root / INDEX}"'
        listed = read_metadata(self.root / INDEX).get('shards')
        check_values(listed, OBJECTS, source, 'shards')
        check_records(listed, dict(file=SHARD_NAMES, sha256=TEXTS), ('file', 'sha256'), source, 'shards')
        if not listed:
            raise InputError(f'{source} lists no shards; delete the folder and run the command that made it again')
        self.files = [self.root / shard['file'] for shard in listed]
        self.shards: list[dict[str, Tensor]] = []
        for path, shard in zip(self.files, listed):
            if not path.is_file() or sha256(path) != shard['sha256']:
                raise ValueError(
                    f'teacher store: "{path}" is missing or damaged; delete it and {INDEX}, '
                    'and run the command that made the store again'
                )
            try:
                file = safe_open(path, framework='pt')
                self.shards.append({name: file.get_tensor(name) for name in file.keys()})  # memory-mapped
            except SafetensorError as error:
                raise ValueError(f'teacher store: "{path}" cannot be read: {error}') from error
            check_shard(path, self.shards[-1], self.shards[0])
        lengths = [len(next(iter(shard.values()))) for shard in self.shards]
        self.ends = list(accumulate(lengths))

    def require(self, **columns: tuple[int, bool]) -> None:
        """Check the columns that a reader needs, without reading their rows.

        Args:
            **columns: Number of dimensions, and whether the values are floating-point numbers (else integers).

        Raises:
            InputError: If a column is missing or has another type.
        """
        for name, (ndim, floating) in columns.items():
            tensor = self.shards[0].get(name)
            if tensor is None or tensor.ndim != ndim or tensor.is_floating_point() != floating or not is_plain(tensor):
                got = 'none' if tensor is None else f'{tensor.dtype} of {tensor.ndim} dimensions'
                numbers = 'floating-point numbers' if floating else 'integers'
                raise InputError(
                    f'teacher store "{self.root}": column "{name}" must hold {numbers} of {ndim} dimensions, '
                    f'got {got}; is it a store of another kind?'
                )

    def check(self, identity: Mapping) -> None:
        """Raise ValueError if a given field of the identity differs from the store's."""
        check_identity(self.root, json.loads(json.dumps(dict(identity))))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def column(self, name: str) -> Tensor:
        """Return all rows of one tensor, in memory.

        Raises:
            InputError: If a number is NaN or infinite.
        """
        values = torch.cat([shard[name] for shard in self.shards])
        self.check_finite(name, values, range(len(values)))
        return values

    def where(self, row: int) -> str:
        """Describe the position of a row, for messages."""
        shard = bisect_right(self.ends, row)
        return f'teacher store: "{self.files[shard]}", row {row - (self.ends[shard - 1] if shard else 0)}'

    def check_finite(self, name: str, values: Tensor, rows: Sequence[int]) -> None:
        """Raise InputError if values of some rows are NaN or infinite."""
        if values.is_floating_point() and not (finite := values.isfinite()).all():
            row = int((~finite).reshape(len(values), -1).any(1).nonzero()[0])
            raise InputError(f'{self.where(int(rows[row]))}: "{name}" is NaN or infinite; rebuild the store')

    def rows(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return rows of every tensor, in the given order."""
        places = []
        for row in map(int, rows):
            shard = bisect_right(self.ends, row)
            if row < 0 or shard == len(self.ends):
                raise IndexError(f'teacher store "{self.root}" has no row {row}; it has {len(self)}')
            places.append((self.shards[shard], row - (self.ends[shard - 1] if shard else 0)))
        values = {
            name: torch.stack([shard[name][row] for shard, row in places]) if places else tensor[:0].clone()
            for name, tensor in self.shards[0].items()
        }
        for name, tensor in values.items():
            self.check_finite(name, tensor, rows)
        return values


def read_metadata(path: Path) -> dict:
    """Read one of a store's JSON files."""
    return read_json(path, max_bytes=MAX_METADATA_BYTES, what='teacher store:')


def check_shard(path: Path, tensors: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> None:
    """Raise InputError unless a shard's tensors have one row count and the names, types and shapes of the first."""
    lengths = {name: len(tensor) if tensor.ndim else None for name, tensor in tensors.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values():
        raise InputError(
            f'teacher store: "{path}": its tensors must have one number of rows, got {short_repr(lengths)}'
        )
    kinds = [{name: (each.dtype, each.shape[1:]) for name, each in shard.items()} for shard in (tensors, first)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f'teacher store: "{path}": its tensors must be of the names, types and shapes of the first shard, got '
            f'{short_repr(kinds[0])}, not {short_repr(kinds[1])}; rebuild the store'
        )


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor holds integers or floating-point numbers, not booleans or complex numbers."""
    return tensor.dtype != torch.bool and not tensor.is_complex()


def check_identity(root: Path, wanted: Mapping) -> None:
    """Raise ValueError if a wanted field differs from a store's identity."""
    existing = read_metadata(root / IDENTITY)
    differing = sorted(key for key in wanted if existing.get(key) != wanted[key])
    if differing:
        differences = '; '.join(
            f'{key} is {short_repr(existing.get(key))}, not {short_repr(wanted[key])}' for key in differing
        )
        raise ValueError(
            f'teacher store "{root}" has another identity: {differences}. Use another folder, or delete it'
        )
