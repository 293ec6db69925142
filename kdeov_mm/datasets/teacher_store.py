"""A teacher's answers on disk, computed once: sharded, checksummed, memory-mapped."""

import json
import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Union

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdeov_mm.utils.files import atomic_path, sha256, write_atomically

IDENTITY, INDEX = 'identity.json', 'index.json'


class TeacherStoreWriter:
    """Writes a store shard by shard; an interrupted one is gone on with, several processes may share the shards.

    A store is a folder: ``identity.json`` says what made it, ``shard-*.safetensors`` hold tensors whose rows belong
    together, and ``index.json``, written last, lists the shards with their SHA-256.

    Args:
        root: Folder, made if need be.
        identity: What the answers depend on (teacher, weights, preprocessing, data); JSON values.
        num_shards: Number of shards of the whole store.

    Raises:
        ValueError: The folder holds a store of another identity or number of shards.
    """

    def __init__(self, root: Union[str, Path], identity: Mapping, num_shards: int) -> None:
        self.root, self.num_shards = Path(root), num_shards
        content = json.loads(json.dumps(dict(identity, num_shards=num_shards)))
        if not (self.root / IDENTITY).is_file():
            write_atomically(self.root / IDENTITY, json.dumps(content, indent=1, sort_keys=True))
        check_identity(self.root, content)

    def missing(self, rank: int = 0, world_size: int = 1) -> List[int]:
        """Numbers of the shards that are still to be written, of those that fall to process ``rank``."""
        return [i for i in range(rank, self.num_shards, world_size) if not self.path(i).is_file()]

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.root / f'shard-{number:05d}.safetensors'

    def write(self, number: int, tensors: Mapping[str, Tensor]) -> None:
        """Write one shard, whole or not at all.

        Args:
            number: Which shard, from 0.
            tensors: Tensors of the same number of rows; the same names and row shapes in every shard.
        """
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f'tensors: must have one number of rows, got {lengths}')
        with atomic_path(self.path(number)) as partial:
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial)
            with open(partial, 'rb') as file:
                os.fsync(file.fileno())

    def finish(self) -> bool:
        """Write the index if all shards are there, whoever wrote them; returns whether they are."""
        if self.missing():
            return False
        shards = [dict(file=self.path(i).name, sha256=sha256(self.path(i))) for i in range(self.num_shards)]
        write_atomically(self.root / INDEX, json.dumps(dict(shards=shards), indent=1))
        return True


class TeacherStore:
    """Reads a finished store; rows of all shards count as one table, and stay on disk until they are asked for.

    Args:
        root: Folder that ``TeacherStoreWriter`` filled.
        identity: What the store must have been made by, as far as named here; None accepts any.
        verify: Whether to compare every shard with its checksum, which reads it once.

    Raises:
        FileNotFoundError: There is no finished store in the folder.
        ValueError: The identity differs, or a shard is damaged.
    """

    def __init__(self, root: Union[str, Path], identity: Optional[Mapping] = None, verify: bool = True) -> None:
        self.root = Path(root)
        if not (self.root / INDEX).is_file():
            state = (
                'is not finished; run the command that makes it again, it goes on where it was'
                if (self.root / IDENTITY).is_file()
                else 'is no teacher store; make it first'
            )
            raise FileNotFoundError(f'teacher store "{self.root}" {state}')
        if identity is not None:
            self.check(identity)
        self.identity = json.loads((self.root / IDENTITY).read_text())
        index = json.loads((self.root / INDEX).read_text())
        self.shards = []
        for shard in index['shards']:
            path = self.root / shard['file']
            if not path.is_file() or verify and sha256(path) != shard['sha256']:
                raise ValueError(
                    f'teacher store: "{path}" is missing or damaged; delete it and {INDEX}, '
                    'and run the command that made the store again'
                )
            try:
                file = safe_open(path, framework='pt')
                self.shards.append({name: file.get_tensor(name) for name in file.keys()})  # mapped, not read
            except SafetensorError as error:
                raise ValueError(f'teacher store: "{path}" cannot be read: {error}') from error
        lengths = [len(next(iter(shard.values()))) for shard in self.shards]
        self.ends = list(accumulate(lengths))

    def check(self, identity: Mapping) -> None:
        """Raise ValueError where the store was made by something else, in the fields that are named here."""
        check_identity(self.root, json.loads(json.dumps(dict(identity))))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def column(self, name: str) -> Tensor:
        """All rows of one tensor, in memory."""
        return torch.cat([shard[name] for shard in self.shards])

    def rows(self, rows: Sequence[int]) -> Dict[str, Tensor]:
        """Some rows of every tensor, in the order asked for."""
        found = []
        for row in map(int, rows):
            shard = bisect_right(self.ends, row)
            if row < 0 or shard == len(self.ends):
                raise IndexError(f'teacher store "{self.root}" has no row {row}; it has {len(self)}')
            found.append((self.shards[shard], row - (self.ends[shard - 1] if shard else 0)))
        return {
            name: torch.stack([shard[name][row] for shard, row in found]) if found else tensor[:0].clone()
            for name, tensor in self.shards[0].items()
        }


def check_identity(root: Path, wanted: Mapping) -> None:
    """Raise ValueError where a store's identity differs from the wanted one, in the fields that this names."""
    found = json.loads((root / IDENTITY).read_text())
    differing = sorted(key for key in wanted if found.get(key) != wanted[key])
    if differing:
        told = '; '.join(f'{key} is {found.get(key)!r}, not {wanted[key]!r}' for key in differing)
        raise ValueError(f'teacher store "{root}" was made by something else: {told}. Use another folder, or delete it')
