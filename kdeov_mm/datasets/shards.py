"""Streams of image-text pairs from WebDataset shards, for collections too large for an index in memory."""

import glob
import os
import random
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

from mmengine.dataset import Compose
from mmengine.dist import get_dist_info
from mmyolo.registry import DATASETS
from torch import Tensor, zeros
from torch.utils.data import IterableDataset, get_worker_info

from kdeov_mm.utils.display import short_repr, printable
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.image_files import MAX_IMAGE_BYTES, BrokenImageError, image_defect
from kdeov_mm.utils.json_files import MAX_METADATA_BYTES, parse_json, read_json
from kdeov_mm.utils.records import TEXTS, check_values
from kdeov_mm.utils.seeds import mix_seed, seed_sample
from .broken_images import BrokenImages
from .caption_files import IMAGE_SUFFIXES
from .load_image import LoadImageReduced

HIDDEN = '__[^/]*__($|/)'  # entries that the webdataset package ignores
MAX_HEADER = 2**20  # bytes of a tar entry that describes another entry
MAX_SAMPLES = 10**12  # in one shard
IMAGE_KEYS = tuple(suffix[1:] for suffix in IMAGE_SUFFIXES)


class Piece(NamedTuple):
    """Names the samples ``[start, stop)`` of one shard."""

    shard: str
    start: int
    stop: int


def import_webdataset():
    """Import the ``webdataset`` package.

    Raises:
        ImportError: If it is not installed; the message says how to install it.
    """
    try:
        import webdataset
    except ImportError as error:
        raise ImportError('shards need the webdataset package: pip install "kdeov_mm[webdataset]"') from error
    return webdataset


def find_shards(shards: str | Sequence[str]) -> list[str]:
    """Expand patterns such as ``data/{00000..00331}.tar`` and, for files, ``data/*.tar``.

    Raises:
        FileNotFoundError: If a file does not exist, or a pattern matches none.
        ValueError: If a shard is named twice, or there is none.
    """
    import_webdataset()
    from braceexpand import braceexpand

    paths = []
    for pattern in [shards] if isinstance(shards, str) else shards:
        for path in braceexpand(pattern):
            if '://' in path or path.startswith('pipe:'):
                paths.append(path)
                continue
            matching = sorted(glob.glob(path)) if glob.has_magic(path) else [path]
            missing = [name for name in matching if not os.path.isfile(name)]
            if missing or not matching:
                raise FileNotFoundError(f'shards: "{(missing or [path])[0]}" does not exist')
            paths += map(os.path.abspath, matching)  # webdataset would run a file called "pipe:..." as a command
    if not paths or len(set(paths)) < len(paths):
        raise ValueError(f'shards: each must be named once, got {paths[:5]} of {shards!r}')
    return paths


def count_samples(shards: Sequence[str], sizes: str | Mapping[str, int] | None = None) -> list[int]:
    """Return the number of samples in each shard.

    Args:
        shards: Paths or URLs.
        sizes: ``{file name: count}`` or a JSON file with it; by default ``sizes.json`` beside the first shard. Without
            it the headers of all shards are read, which is slow for thousands of shards.

    Raises:
        FileNotFoundError: If the file of sizes does not exist.
        ValueError: If a shard has no size, or is remote and there are no sizes.
    """
    if sizes is None:
        beside = os.path.join(os.path.dirname(shards[0]), 'sizes.json')
        sizes = beside if os.path.isfile(beside) else None
    if sizes is None:
        remote = [shard for shard in shards if not os.path.isfile(shard)]
        if remote:
            raise ValueError(f'sizes: give the number of samples of each shard; "{remote[0]}" is not a local file')
        return [count_local(shard) for shard in shards]
    source = f'sizes: "{printable(sizes)}"' if isinstance(sizes, str) else 'sizes'
    if isinstance(sizes, str):
        sizes = read_json(sizes, max_bytes=MAX_METADATA_BYTES, what='sizes:')
    unknown = [shard for shard in shards if os.path.basename(shard) not in sizes]
    if unknown:
        raise InputError(
            f'{source}: no number of samples for "{printable(os.path.basename(unknown[0]))}" and {len(unknown) - 1} '
            'others; add them'
        )
    for shard in shards:
        size = sizes[os.path.basename(shard)]
        if type(size) is not int or not 0 <= size <= MAX_SAMPLES:
            raise InputError(
                f'{source}: the size of "{printable(os.path.basename(shard))}" is {short_repr(size)}; expected a '
                f'number of samples from 0 to {MAX_SAMPLES}; correct or delete the file'
            )
    return [sizes[os.path.basename(shard)] for shard in shards]


def count_local(shard: str) -> int:
    """Count the samples of a local shard: consecutive files with one name up to the first dot are a sample.

    Raises:
        ValueError: If the shard is not a tar file, or is truncated.
    """
    base_plus_ext = import_webdataset().tariterators.base_plus_ext
    count, last = 0, None
    try:
        with tarfile.open(shard, 'r:', tarinfo=BoundedTarInfo) as file:
            for member in file:
                hidden = not member.isreg() or re.match(HIDDEN, member.name)
                key = None if hidden else base_plus_ext(member.name)[0]
                count += key is not None and key != last
                last = key or last
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f'shards: "{shard}" cannot be read: {type(error).__name__}: {error}') from error
    return count


class BoundedTarInfo(tarfile.TarInfo):
    """Reads a tar entry, and raises :class:`tarfile.ReadError` if it would need too much memory."""

    def _proc_member(self, file: tarfile.TarFile) -> tarfile.TarInfo:  # called before any content is read
        limit = MAX_IMAGE_BYTES if self.type in tarfile.REGULAR_TYPES else MAX_HEADER
        if self.size > limit:
            raise tarfile.ReadError(f'"{printable(self.name)}" has {self.size} bytes; at most {limit} are read')
        return super()._proc_member(file)  # type: ignore[misc]


def read_members(stream: BinaryIO, shard: str) -> Iterator[dict]:
    """Yield the regular files of an uncompressed tar stream as webdataset's ``group_by_keys`` takes them."""
    with tarfile.open(fileobj=stream, mode='r|', tarinfo=BoundedTarInfo) as file:
        for member in file:
            if member.isreg() and not re.match(HIDDEN, member.name):
                yield dict(fname=member.name, data=file.extractfile(member).read(), __url__=shard)
            file.members = []  # type: ignore[misc]  # otherwise tarfile keeps them all


@DATASETS.register_module()
class ImageTextShards(BrokenImages, IterableDataset):
    """Streams image-text pairs from WebDataset shards.

    The order of the shards is drawn each epoch. In this order, all samples form one sequence, and each process and each
    of its workers reads its own part: no sample is lost, whatever the number of shards, and only as many come twice as
    make the parts of all processes equal. A shard at the border of two parts is read by both. A broken image gives way
    to another of the same part, so all processes make the same number of steps.

    Each sample has ``img_path`` (shard and key), ``img_id`` (the key), ``captions`` and ``img_bytes``, which
    ``LoadImageReduced`` decodes. Train with ``ResumableTrainLoop``, which sets the epoch, and ``sampler=None``.

    Args:
        shards: Paths, URLs (``https://``, ``pipe:``, ...) or patterns, see :func:`find_shards`.
        batch_size: Batch size of the dataloader, as batches are distributed to workers.
        pipeline: Transforms, the first of them ``LoadImageReduced``.
        captions: Source of a sample's text: the extension of its text file, such as ``txt``, or ``json:FIELD`` for a
            field (a str or a list of str) of its JSON file. None: no captions.
        sizes: See :func:`count_samples`.
        shuffle: Whether shards, and samples in a buffer, are shuffled; a function of seed and epoch.
        buffer_size: Number of undecoded samples that each worker shuffles.
        seed: The same in all processes.
        max_broken: Maximum ratio of unreadable images.
        metainfo: Metainfo for hooks and metrics.

    Raises:
        ImportError: If the ``webdataset`` package is missing.
        FileNotFoundError, ValueError: If the shards or their sizes are wrong.
        RuntimeError: If more images than ``max_broken`` are unreadable, when they are read.
    """

    def __init__(
        self,
        shards: str | Sequence[str],
        batch_size: int,
        pipeline: Sequence,
        captions: str | None = 'txt',
        sizes: str | Mapping[str, int] | None = None,
        shuffle: bool = True,
        buffer_size: int = 1000,
        seed: int = 0,
        max_broken: float = 0.05,
        metainfo: dict | None = None,
    ) -> None:
        self.set_max_broken(max_broken)
        self.shards = find_shards(shards)
        self.source = shards if isinstance(shards, str) else ' '.join(shards)
        self.sizes = count_samples(self.shards, sizes)
        self.total = sum(self.sizes)
        self.rank, self.world_size = get_dist_info()
        if self.total < self.world_size:
            raise ValueError(f'shards: {self.total} samples are too few for {self.world_size} processes')
        self.pipeline = Compose(pipeline)
        if not self.pipeline.transforms or not isinstance(self.pipeline.transforms[0], LoadImageReduced):
            raise ValueError(
                'pipeline: the first transform must be LoadImageReduced, as images of shards are not files'
            )
        self.batch_size, self.captions, self.shuffle, self.buffer_size = batch_size, captions, shuffle, buffer_size
        self.seed, self.metainfo = seed, dict(metainfo or {})
        self.count = -(-self.total // self.world_size)
        self.first = self.rank * self.count
        self._position: Tensor = zeros(2, dtype=int).share_memory_()  # epoch and batch, shared with persistent workers

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Set the epoch and this process's first batch in it, between two passes."""
        self._position[0], self._position[1] = epoch, start

    def __len__(self) -> int:
        """Return the number of this process's samples."""
        return self.count

    # ------------------------------------------------------------------------------------------ division
    def worker_range(self, worker: int, workers: int, start: int = 0) -> range:
        """Return the part of this process's samples that a worker reads.

        The dataloader takes batches from the workers in turn. A worker's samples are contiguous.

        Args:
            worker, workers: Index of the worker and number of workers.
            start: Next batch of the process.

        Returns:
            range: Positions in the sequence of all samples; a position beyond the end means a sample from the start.
        """
        batches = -(-self.count // self.batch_size)
        bounds = [0]
        for each in range(workers):
            size = len(range(each, batches, workers)) * self.batch_size
            if batches and each == (batches - 1) % workers:
                size -= batches * self.batch_size - self.count  # the last batch
            bounds.append(bounds[-1] + size)
        return range(self.first + bounds[worker], self.first + bounds[worker + 1])

    def pieces(self, row: range, order: Sequence[int]) -> list[Piece]:
        """Return the shards' pieces that make up a range of all samples, for an order of the shards."""
        pieces, offset = [], 0
        while offset < row.stop:
            for index in order:
                start, stop = max(row.start - offset, 0), min(row.stop - offset, self.sizes[index])
                if start < stop:
                    pieces.append(Piece(self.shards[index], start, stop))
                offset += self.sizes[index]
        return pieces

    # ------------------------------------------------------------------------------------------ reading
    def __iter__(self) -> Iterator[dict]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        epoch, start = self._position.tolist()
        worker = (worker + start) % workers  # the worker whose turn is next gives the first batch
        order = list(range(len(self.shards)))
        if self.shuffle:
            random.Random(mix_seed(self.seed, epoch)).shuffle(order)
        row = self.worker_range(worker, workers)
        skipped = len(range(worker, start, workers)) * self.batch_size
        shuffler = random.Random(mix_seed(self.seed, epoch, self.rank, worker))
        yield from self._good(self.pieces(row, order), len(row), skipped, shuffler, epoch)

    def _good(
        self, pieces: Sequence[Piece], count: int, skipped: int, shuffler: random.Random, epoch: int
    ) -> Iterator[dict]:
        """Yield ``count`` samples without the first ``skipped``; repeat samples if some are broken."""
        given = 0
        while given < count:
            before = given
            for sample in self._shuffled(pieces, shuffler):
                if given == count:
                    return
                if self._is_broken(sample):
                    continue
                if given >= skipped:
                    try:
                        seed_sample(self.seed, epoch, zlib.crc32(sample['img_path'].encode()))
                        data = self.pipeline(dict(sample))
                    except BrokenImageError as error:
                        self.report_broken({sample['img_path']: str(error)}, self.total)
                        continue
                    if data is None:
                        raise ValueError(
                            f'{sample["img_path"]}: the pipeline refused it, but shards cannot go without it'
                        )
                    yield data
                given += 1
            if given == before:
                raise RuntimeError(f'none of the {count} images in {pieces[0].shard} and on can be read')

    def _is_broken(self, sample: dict) -> bool:
        path = sample['img_path']
        if path in self.broken:
            return True
        defect = image_defect(sample['img_bytes']) if sample['img_bytes'] else 'has no image'
        if defect:
            self.report_broken({path: defect}, self.total)
        return bool(defect)

    def _shuffled(self, pieces: Sequence[Piece], shuffler: random.Random) -> Iterator[dict]:
        samples = (self._sample(piece.shard, raw) for piece in pieces for raw in self._read(piece))
        if not self.shuffle:
            return samples
        size = self.buffer_size
        return import_webdataset().shuffle(size, initial=size, rng=shuffler)(samples)

    def _read(self, piece: Piece) -> Iterator[dict]:
        """Yield a shard's raw samples from start to stop.

        Raises:
            ValueError: If the shard cannot be read, or does not have the number of samples that its size says.
        """
        webdataset = import_webdataset()
        size, count = self.sizes[self.shards.index(piece.shard)], 0
        try:
            with webdataset.gopen(piece.shard) as stream:
                samples = webdataset.tariterators.group_by_keys(read_members(stream, piece.shard))
                for count, raw in enumerate(samples, 1):
                    if count > piece.stop:
                        break
                    if count > piece.start:
                        yield raw
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(f'shards: "{piece.shard}" cannot be read: {type(error).__name__}: {error}') from error
        if count < piece.stop or count > piece.stop == size:
            raise ValueError(
                f'shards: "{piece.shard}" does not have {size} samples, as its size says; correct or delete sizes.json'
            )

    def _sample(self, shard: str, raw: dict) -> dict:
        key = next((key for key in raw if key.rsplit('.', 1)[-1] in IMAGE_KEYS), None)
        path = f'{shard}/{raw["__key__"]}' + (f'.{key}' if key else '')
        return dict(
            img_path=path, img_id=raw['__key__'], img_bytes=raw[key] if key else b'', captions=self._texts(path, raw)
        )

    def _texts(self, path: str, raw: dict) -> list[str]:
        if self.captions is None:
            return []
        extension, _, field = self.captions.partition(':')
        content = raw.get(extension)
        if content is None:
            return []
        if field:  # other fields of a collection may be NaN
            texts = parse_json(content, printable(f'{path}.{extension}'), finite=False).get(field) or []
        else:
            try:
                texts = content.decode()
            except UnicodeDecodeError as error:
                raise InputError(f'{printable(path)}.{extension} is not UTF-8 text: {error}') from error
        texts = [texts] if isinstance(texts, str) else texts
        check_values(texts, TEXTS, printable(f'{path}.{extension}'), field or 'text')
        return [text.strip() for text in texts if text.strip()]
