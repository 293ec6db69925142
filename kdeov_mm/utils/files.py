"""Files: read only if they are regular and small enough, written whole or not at all, and their checksums."""

import hashlib
import os
import secrets
import stat
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .display import printable
from .errors import InputError


@contextmanager
def open_regular(path: str | Path, max_bytes: int, what: str = 'file') -> Iterator[BinaryIO]:
    """Open a regular file for reading and refuse folders, devices, FIFOs and sockets.

    Args:
        path: The file; a link to a file is followed.
        max_bytes: The largest size that is accepted.
        what: What the file is, for messages, such as ``image``.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is a folder, a device, a FIFO or a socket (also through a link), or larger than ``max_bytes``.
        OSError: If it cannot be opened.
    """
    name = printable(str(path))
    try:
        check_regular(os.stat(path), name, max_bytes, what)  # first: opening some devices does something
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileNotFoundError(f'{what} "{name}" does not exist') from None
    except ValueError as error:  # a null character
        raise error if isinstance(error, InputError) else InputError(f'{what} "{name}": {error}') from None
    with open(descriptor, 'rb') as file:
        check_regular(os.fstat(descriptor), name, max_bytes, what)  # again: it may have been replaced
        yield file


def check_regular(status: os.stat_result, name: str, max_bytes: int, what: str = 'file') -> None:
    """Raise InputError unless a file's status is that of a regular file of at most ``max_bytes``."""
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for is_kind, kind in KINDS if is_kind(status.st_mode)), 'special file')
        raise InputError(f'{what} "{name}" is a {kind}; give a regular file')
    if status.st_size > max_bytes:
        raise InputError(f'{what} "{name}" has {status.st_size} bytes; the limit is {max_bytes}; give a smaller file')


KINDS = (
    (stat.S_ISDIR, 'folder'),
    (stat.S_ISFIFO, 'FIFO'),
    (stat.S_ISCHR, 'character device'),
    (stat.S_ISBLK, 'block device'),
    (stat.S_ISSOCK, 'socket'),
)


def read_file(path: str | Path, max_bytes: int, what: str = 'file') -> bytes:
    """Read a whole regular file; see :func:`open_regular`. Refuse a file that grows beyond ``max_bytes`` meanwhile."""
    parts, left = [], max_bytes + 1  # read in one piece if it does not grow; read(left) would allocate so much
    with open_regular(path, max_bytes, what) as file:
        step = max(os.fstat(file.fileno()).st_size + 1, 2**16)
        while left and (part := file.read(min(step, left))):
            parts.append(part)
            left -= len(part)
    content = parts[0] if len(parts) == 1 else b''.join(parts)
    if len(content) > max_bytes:
        raise InputError(
            f'{what} "{printable(str(path))}" is larger than {max_bytes} bytes, the limit; give a smaller file'
        )
    return content


FILE = '\0'  # ends the path of a file, as opposed to a folder, in the list of walk_files; no path contains it


def walk_files(folder: str | Path) -> Iterator[str]:
    """Yield the paths of all files below a folder, sorted by name within each folder, as ``folder/...``.

    Links to folders are followed, and each folder is visited once, so that cyclic links end. Special files are listed
    like others; :func:`open_regular` refuses them. A folder that cannot be read is left out with a warning.
    """
    seen: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        path = waiting.pop()
        if path.endswith(FILE):
            yield path[: -len(FILE)]
            continue
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            warnings.warn(f'folder "{printable(path)}": {error.strerror}; its files are left out', stacklevel=2)
            continue
        waiting += [entry.path if is_folder(entry) else entry.path + FILE for entry in found]


def is_folder(entry: os.DirEntry) -> bool:
    """Return whether an entry is a folder or a link to one; False for a link that leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:
        return False


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, which replaces it when the block ends without an error.

    The name cannot be guessed and the file must be new, so neither a planted link nor another thread can interfere. The
    content is on the disk before the old file is replaced. The permissions are those of a new file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.stem[:40]}.{secrets.token_hex(8)}{path.suffix}')
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of files, is on the disk; for folders where the system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding='utf-8')
    return path


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def fingerprint_files(paths: Iterable[str]) -> str | None:
    """Return a checksum of paths, sizes and times of files, in their order; None if one does not exist."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            return None
        digest.update(f'{path} {status.st_size} {status.st_mtime_ns}\n'.encode(errors='surrogateescape'))
    return digest.hexdigest()
