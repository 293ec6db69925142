"""Storage of image embeddings in LanceDB, an embedded database with transactions, on a disk or an object store."""

import errno
import json
import math
import os
import re
import stat
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from kdeov_mm.utils.display import printable
from kdeov_mm.utils.errors import DISK_ERRORS, InputError
from kdeov_mm.utils.files import read_file
from kdeov_mm.utils.json_files import parse_json
from kdeov_mm.utils.protobuf import fields as message_fields

try:
    import lancedb
    import pyarrow as pa
except ImportError as error:
    raise ImportError(f'an index needs LanceDB ({error}); run "pip install kdeov_mm[search]"') from error

from kdeov_mm.utils.lock import lock_folder

FORMAT = 1  # of the tables below; others are refused
METADATA = b'kdeov_mm'
INDEX_FROM = 10_000  # images; fewer are compared one by one
PARTITION = 512  # approximate number of images in one partition of the vector index
RETRAIN = 4  # the vector index is rebuilt when the number of images has grown by this factor
KEPT = timedelta(days=1)  # how long earlier states are kept
MAX_MANIFEST = 2**30  # bytes of a version's manifest
BASE_PATHS = 18  # field of Lance's Manifest message: other folders
TRAINED_ON = 'kdeov_mm.trained_on'


@dataclass
class Model:
    """Describes the image encoder whose embeddings an index holds.

    The author of the index chose all values, so do not trust them: ``kdeov_mm.search.image_encoder_file`` and
    ``text_encoder_file`` check the files before they are opened.

    Attributes:
        path: ONNX file; a relative path means inside the index.
        sha256: SHA-256 of the file.
        dims: Dimension D of the embeddings.
        text_space: Name of the embedding space that images and texts share, if known.
        text: ONNX file of the text encoder that embeds queries; a relative path means inside the index; None if
            unknown.
        text_sha256: SHA-256 of the text encoder's file; None if unknown, and in indexes of older versions.
    """

    path: str
    sha256: str
    dims: int
    text_space: str | None = None
    text: str | None = None
    text_sha256: str | None = None

    @classmethod
    def parse(cls, content: bytes, name: str) -> 'Model':
        """Parse a table's metadata, as :func:`image_schema` writes them.

        Raises:
            InputError: If the metadata are damaged or have another format.
        """
        about = parse_json(content, name)
        if about.get('format') != FORMAT:
            raise InputError(
                f'{name} has format {printable(repr(about.get("format")))[:40]}, and this version of kdeov_mm reads '
                f'{FORMAT}; rebuild it'
            )
        given = about.get('model')
        if not isinstance(given, dict):
            raise InputError(f'{name}: "model" must be a JSON object, got {type(given).__name__}; rebuild it')
        values = {field.name: given.get(field.name) for field in fields(cls)}
        for key, value in values.items():
            optional = value is None and key in ('text_space', 'text', 'text_sha256')
            if not optional and not VALID[key](value):
                shown = printable(repr(value)[:60])
                raise InputError(f'{name}: {shown} cannot be the "{key}" of "model"; rebuild it')
        return cls(**values)


def is_text(value: Any) -> bool:
    """Return whether a value is a non-empty string."""
    return isinstance(value, str) and value != ''


def is_sha256(value: Any) -> bool:
    """Return whether a value is a hexadecimal SHA-256."""
    return isinstance(value, str) and re.fullmatch('[0-9a-f]{64}', value) is not None


VALID: dict[str, Callable[[Any], bool]] = dict(
    path=is_text,
    sha256=is_sha256,
    dims=lambda value: type(value) is int and value > 0,
    text_space=is_text,
    text=is_text,
    text_sha256=is_sha256,
)


def image_schema(model: Model) -> pa.Schema:
    """Return the schema of the table of images, with one row for each distinct content."""
    about = json.dumps(dict(format=FORMAT, model=asdict(model)))
    return pa.schema(
        [
            ('sha256', pa.string()),  # of the file
            ('path', pa.string()),
            ('size', pa.int64()),  # bytes
            ('mtime_ns', pa.int64()),
            ('width', pa.int32()),  # in pixels, upright
            ('height', pa.int32()),
            ('thumbnail', pa.binary()),  # JPEG
            ('embedding', pa.list_(pa.float32(), model.dims)),
        ],
        metadata={METADATA: about},
    )


# Files without a row of their own: duplicates, and images that cannot be read.
SKIPPED_SCHEMA = pa.schema(
    [
        ('path', pa.string()),
        ('size', pa.int64()),
        ('mtime_ns', pa.int64()),
        ('sha256', pa.string()),
        ('reason', pa.string()),
    ]
)
DUPLICATE = 'duplicate'
SYSTEM_ERROR = re.compile(r'\(os error (\d+)\)')  # in a message of LanceDB


def storage_error(folder: str, error: BaseException) -> Exception:
    """Convert LanceDB's error to an OSError of the system or an InputError for damage; the message names the index."""
    message, index = ' '.join(str(error).split()), printable(str(folder))
    match = SYSTEM_ERROR.search(message)
    code = int(match[1]) if match else 0
    if code and code != errno.ENOENT:  # a missing file of the index is damage
        fix = 'free some space' if code in DISK_ERRORS else 'check the folder, its disk and your permissions'
        refused = OSError(f'index "{index}": {os.strerror(code)}; {fix}, then run it again: nothing committed is lost')
        refused.errno = code
        return refused
    return InputError(
        f'index "{index}" is damaged or cannot be reached ({message[:200]}); run it again, or restore the index from '
        'a copy, or delete and rebuild it'
    )


@contextmanager
def storage_errors(folder: str) -> Iterator[None]:
    """Turn LanceDB's RuntimeErrors and panics into errors that name the index; see :func:`storage_error`."""
    try:
        yield
    except RuntimeError as error:
        raise storage_error(folder, error) from error
    except BaseException as error:
        if type(error).__name__ != 'PanicException':  # Rust's panic is no subclass of Exception
            raise
        raise storage_error(folder, error) from error


def with_storage_errors(method: Callable) -> Callable:
    """Make a method of :class:`ImageStore` raise as :func:`storage_errors` does."""

    @wraps(method)
    def wrapped(self, *args, **kwargs):
        with storage_errors(self.folder):
            return method(self, *args, **kwargs)

    return wrapped


class ImageStore:
    """Reads and writes an index of images; ``ImageStore.open`` and ``ImageStore.create`` return one.

    Every change is one transaction: readers see all or nothing of it, and a killed writer leaves the previous state.

    Args:
        folder: Folder, or URI of an object store such as ``s3://bucket/index``.
        images: Table of images.
        connection: LanceDB's connection.
    """

    def __init__(self, folder: str, images, connection) -> None:
        self.folder, self.images, self._connection = folder, images, connection
        with storage_errors(folder):
            schema, name = images.schema, f'index "{printable(folder)}"'
        self.model = Model.parse((schema.metadata or {}).get(METADATA, b'{}'), name)
        dims = getattr(schema.field('embedding').type, 'list_size', 0) if 'embedding' in schema.names else 0
        if dims != self.model.dims:
            raise InputError(f'{name} has embeddings of {dims} numbers, but its metadata say {self.model.dims}')
        check_schema(schema, image_schema(self.model), name)

    @classmethod
    def open(cls, folder: str, version: int | None = None) -> 'ImageStore':
        """Open an index.

        Args:
            folder: Folder or URI.
            version: An earlier state, see :meth:`versions`, which is read-only.

        Raises:
            FileNotFoundError: If there is no index.
            ValueError: If the index has another format, or no such version.
        """
        check_folder(folder)
        exists = '://' in folder or Path(folder).is_dir()
        connection = lancedb.connect(folder) if exists else None  # connecting creates the folder
        images = open_images(folder, connection) if exists else None
        if images is None:
            raise FileNotFoundError(f'index: no index in {folder!r}; build one with "kdeov index build"')
        if version is not None:
            with storage_errors(folder):
                known = [entry['version'] for entry in images.list_versions()]
                if version not in known:
                    raise ValueError(f'version {version}: {folder!r} has {known[0]} to {known[-1]}')
                images.checkout(version)
        return cls(folder, images, connection)

    @classmethod
    def create(cls, folder: str, model: Model) -> 'ImageStore':
        """Open the index of a model, or create it.

        Raises:
            ValueError: If the index holds another model's embeddings.
        """
        check_folder(folder)
        connection = lancedb.connect(folder)
        images = open_images(folder, connection)
        if images is None:
            schema = image_schema(replace(model, path=inside(folder, model.path), text=inside(folder, model.text)))
            with storage_errors(folder):
                images = connection.create_table('images', schema=schema, exist_ok=True)
        store = cls(folder, images, connection)
        if store.model.sha256 != model.sha256:
            raise ValueError(
                f'model: {folder!r} holds embeddings of {store.model.path} (SHA-256 '
                f'{store.model.sha256[:12]}), which are not comparable with those of {model.path} '
                f'({model.sha256[:12]}); give that model or another folder'
            )
        return store

    @property
    def skipped(self):
        """The table of duplicates and broken images."""
        name = f'index "{printable(self.folder)}"'
        with storage_errors(self.folder):
            try:
                table = self._connection.create_table('skipped', schema=SKIPPED_SCHEMA, exist_ok=True)
            except ValueError as error:  # another schema
                raise InputError(f'{name} is damaged: its table "skipped": {error}; rebuild it') from error
            check_schema(table.schema, SKIPPED_SCHEMA, name)
        return table

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the index against other writers on this machine; the lock of a killed writer is free at once.

        Raises:
            ValueError: If another process is writing; the message names it.
            OSError: If the folder cannot be written.
        """
        with lock_folder(self.folder, 'index'):
            self.images.checkout_latest()
            yield

    @with_storage_errors
    def __len__(self) -> int:
        return self.images.count_rows()

    @with_storage_errors
    def known(self, paths: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return size and modification time (ns) of the files that the index already has."""
        files = {}
        for table in (self.images, self.skipped):
            for row in select(table, is_in('path', paths), ['path', 'size', 'mtime_ns']):
                files[row['path']] = (row['size'], row['mtime_ns'])
        return files

    @with_storage_errors
    def known_content(self, hashes: Sequence[str]) -> dict[str, str]:
        """Return the paths of the images with given SHA-256, by SHA-256."""
        return {row['sha256']: row['path'] for row in select(self.images, is_in('sha256', hashes), ['sha256', 'path'])}

    @with_storage_errors
    def commit(self, images: list[dict], skipped: list[dict]) -> int:
        """Add a batch of rows.

        Args:
            images: Rows of the table of images; existing content is not added again.
            skipped: Rows of the table of skipped files; they replace rows of the same paths.

        Returns:
            int: Number of added images.
        """
        added = 0
        if images:
            rows = pa.Table.from_pylist(images, schema=self.images.schema)
            added = self.images.merge_insert('sha256').when_not_matched_insert_all().execute(rows).num_inserted_rows
        if skipped:
            rows = pa.Table.from_pylist(skipped, schema=SKIPPED_SCHEMA)
            self.skipped.merge_insert('path').when_matched_update_all().when_not_matched_insert_all().execute(rows)
        return added

    @with_storage_errors
    def forget(self, paths: Sequence[str], below: bool = False) -> int:
        """Remove files; an image with a duplicate elsewhere stays, under the duplicate's path.

        Args:
            paths: Absolute paths; paths that are not UTF-8 are in no index.
            below: Whether paths may be folders, whose files are then removed.

        Returns:
            int: Number of removed images.
        """
        paths = [path for path in paths if is_utf8(path)]
        folders = [f'starts_with(path, {quote(path.rstrip("/") + "/")})' for path in paths if below]
        where = ' OR '.join([is_in('path', paths), *folders])
        skipped = self.skipped
        skipped.delete(where)
        removed = [row['sha256'] for row in select(self.images, where, ['sha256'])]
        is_duplicate = f"reason = '{DUPLICATE}' AND "
        duplicates = {
            row['sha256']: row
            for part in parts(removed)
            for row in select(skipped, is_duplicate + is_in('sha256', part))
        }
        for sha256, duplicate in duplicates.items():
            values = {name: duplicate[name] for name in ('path', 'size', 'mtime_ns')}
            # First: if the process is killed in between, the next build adds the file again.
            skipped.delete(is_in('path', [duplicate['path']]))
            self.images.update(where=is_in('sha256', [sha256]), values=values)
        return self.images.delete(where).num_deleted_rows

    @with_storage_errors
    def search(self, vector: np.ndarray, top: int = 10, nprobes: int = 128, refine: int = 10) -> list[dict]:
        """Return the nearest images by cosine similarity.

        Args:
            vector: Query embedding ``[D]``, not all zero.
            top: Maximum number of images.
            nprobes: Number of partitions of the vector index that are searched.
            refine: ``refine * top`` candidates are compared by their exact embeddings.

        Returns:
            list: ``dict(path, sha256, width, height, thumbnail, embedding, score)``, best first; the embedding is
            float32 ``[D]``, the score in [-1, 1].

        Raises:
            ValueError: If the vector does not fit, or the index is empty or damaged.
        """
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self.model.dims,) or not np.isfinite(vector).all() or not vector.any():
            raise ValueError(
                f'query: must be an embedding of shape ({self.model.dims},) with finite numbers, not all '
                f'zero, got shape {vector.shape}; give the text encoder of {self.model.path}'
            )
        if top < 1:
            raise ValueError(f'top: must be at least 1, got {top}')
        query = self.images.search(vector, vector_column_name='embedding').distance_type('cosine').limit(top)
        query = query.nprobes(nprobes).refine_factor(refine)
        columns = ['path', 'sha256', 'width', 'height', 'thumbnail', 'embedding', '_distance']
        rows = query.select(columns).to_arrow().to_pylist()
        if not rows:
            raise ValueError(f'index: {self.folder!r} holds no images')
        for row in rows:
            if not is_text(row['path']) or row['_distance'] is None or not math.isfinite(row['_distance']):
                raise InputError(
                    f'index "{printable(self.folder)}" has an image without a path or without a finite embedding; list '
                    'such images with "kdeov index verify", and rebuild the index'
                )
        for row in rows:
            row.update(embedding=np.asarray(row['embedding'], np.float32), score=1 - row.pop('_distance'))
        return rows

    @with_storage_errors
    def optimize(self) -> None:
        """Merge small files, drop states older than a day, and update the vector index.

        Without it searches are correct but slower.
        """
        if len(self) >= INDEX_FROM:
            field = self.images.schema.field('embedding')
            trained_on = int((field.metadata or {}).get(TRAINED_ON.encode(), 0))
            if len(self) >= RETRAIN * trained_on:
                self.train_index()
        for table in (self.images, self.skipped):
            table.optimize(cleanup_older_than=KEPT)

    def train_index(self) -> None:
        """Rebuild the vector index of inverted lists with RaBitQ codes.

        Gao and Long 2024, "RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate
        nearest neighbor search".
        """
        from lancedb.index import BTree, IvfRq

        # Give the size of partitions, not their number: optimising the table merges partitions far below the known size
        config = IvfRq(distance_type='cosine', target_partition_size=PARTITION)
        self.images.create_index('embedding', config=config, replace=True)
        for column in ('path', 'sha256'):
            self.images.create_index(column, config=BTree(), replace=True)
        self.images.update_field_metadata(dict(path='embedding', metadata={TRAINED_ON: str(len(self))}))

    @with_storage_errors
    def broken(self) -> list[dict]:
        """Return the files that cannot be read: ``dict(path, reason)``."""
        rows = select(self.skipped, f"reason != '{DUPLICATE}'", ['path', 'reason'])
        return [row for row in rows if is_text(row['path'])]

    @with_storage_errors
    def paths(self) -> list[str]:
        """Return all files of the index."""
        where = 'path IS NOT NULL'  # NULL occurs only in a damaged index
        return [row['path'] for table in (self.images, self.skipped) for row in select(table, where, ['path'])]

    @with_storage_errors
    def vector_index(self) -> str | None:
        """Return type and size of the vector index, or None if there is none yet."""
        return next(
            (
                f'{index.index_type} of {index.num_indexed_rows} images, {index.num_unindexed_rows} not in it'
                for index in self.images.list_indices()
                if index.columns == ['embedding']
            ),
            None,
        )

    @with_storage_errors
    def versions(self) -> list[dict]:
        """Return the states that can still be opened, oldest first: ``dict(version, timestamp)``."""
        return [dict(version=entry['version'], timestamp=entry['timestamp']) for entry in self.images.list_versions()]


def open_images(folder: str, connection):
    """Open the table of images; return None if it does not exist.

    Raises:
        ValueError: If the table is damaged.
        OSError: If the system refuses to read it.
    """
    with storage_errors(folder):
        try:
            return connection.open_table('images')
        except ValueError:  # also if its creation was killed
            return None


def check_folder(folder: str) -> None:
    """Check the folder of an index before LanceDB opens it; an object store's content is not checked.

    Raises:
        InputError: If LanceDB does not support the name, a table holds a link or a special file, for which LanceDB
            would wait forever, or a table names files outside of the index.
    """
    if not folder or not is_utf8(folder) or '\0' in folder:
        raise InputError(f'index: LanceDB supports no folder called "{printable(folder)}"; give a name in UTF-8')
    for table in Path(folder).glob('*.lance') if '://' not in folder else ():
        waiting = [str(table)]
        while waiting:
            path = waiting.pop()
            try:
                kind = os.lstat(path).st_mode
            except FileNotFoundError:  # another process removed it
                continue
            if stat.S_ISDIR(kind):
                with os.scandir(path) as entries:
                    waiting += [entry.path for entry in entries]
            elif not stat.S_ISREG(kind):
                raise InputError(f'index: "{printable(path)}" is a link or a special file, which no index holds')
            elif path.endswith('.manifest'):
                check_manifest(path)


def check_manifest(path: str) -> None:
    """Raise InputError for a version of a LanceDB table that keeps data in other folders, as a shallow clone does."""
    content = read_file(path, MAX_MANIFEST, 'index')
    try:
        (start,) = struct.unpack('<Q', content[-16:-8])  # of the manifest: a length and a protobuf message
        (length,) = struct.unpack('<I', content[start : start + 4])
        field_numbers = {
            field for field, *_ in message_fields(content, start + 4, min(start + 4 + length, len(content)))
        }
    except (struct.error, ValueError):
        return  # damaged: LanceDB refuses it, too
    if BASE_PATHS in field_numbers:
        raise InputError(f'index: "{printable(path)}" names files outside of the index; copy them in, or rebuild it')


def check_schema(schema: pa.Schema, expected: pa.Schema, name: str) -> None:
    """Check that a table has the expected columns and no metadata that LanceDB would act on.

    LanceDB loads models that a table's metadata name as "embedding_functions", with code of the model's author.

    Raises:
        InputError: If a column is missing or of another type, or there are other metadata.
    """
    for field in expected:
        actual = schema.field(field.name).type if schema.get_all_field_indices(field.name) else None
        if actual != field.type:
            raise InputError(
                f'{name} is damaged: column "{field.name}" must be {field.type}, got {actual or "none"}; rebuild it'
            )
    others = sorted(set(schema.metadata or ()) - {METADATA})
    if others:
        raise InputError(f'{name} has metadata {printable(repr(others)[:100])}, which are not allowed; do not use it')


def inside(folder: str, path: str | None) -> str | None:
    """Make the path of a file inside an index relative, so the index can be moved; return other paths unchanged."""
    base = os.path.realpath(folder)
    return os.path.relpath(path, base) if path and '://' not in folder and path.startswith(base + os.sep) else path


def is_utf8(text: str) -> bool:
    """Return whether a string can be stored; a file name may hold bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_in(column: str, values: Iterable[str]) -> str:
    """Return an SQL condition on a column of strings."""
    quoted = ', '.join(quote(value) for value in values)
    return f'{column} IN ({quoted})' if quoted else 'false'


def parts(values: list, size: int = 1000) -> Iterator[list]:
    """Split values into lists that fit into one condition."""
    return (values[start : start + size] for start in range(0, len(values), size))


def quote(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


def select(table, where: str, columns: Sequence[str] | None = None) -> list[dict]:
    """Return the rows that fulfil a condition."""
    query = table.search().where(where)
    return (query.select(list(columns)) if columns else query).to_list()
