"""Locks for one writer in each folder, such as a work dir, a store or an index."""

import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .display import printable
from .errors import InputError
from .files import read_file
from .json_files import parse_json

LOCK = '.lock'
MAX_LOCK_BYTES = 4096  # of the holder's description
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # some network file systems have no locks
HELD: dict[str, int] = {}  # map the real path of each folder locked by this process to its file descriptor
JOB: set[str] = set()  # real paths of folders that all processes of this job may write, under the lock of the first


@contextmanager
def lock_folder(folder: str | Path, what: str, wait: bool = False) -> Iterator[None]:
    """Create a folder if it does not exist, and lock it against other writers on this machine.

    The system frees the lock when the process ends, also after ``kill -9``. Object stores, and file systems without
    locks, are not locked.

    Args:
        folder: The folder, or the URI of an object store.
        what: What the folder is, for messages, such as ``work dir``.
        wait: Whether to wait until the folder is free.

    Raises:
        InputError: If another process, or another part of this one, has the lock. The message names the process, its
            host and its start if the lock file has them.
        OSError: If the folder cannot be written.
    """
    if '://' in str(folder):
        yield
        return
    descriptor = open_lock(Path(folder), what)
    key = os.path.realpath(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(
            f'{what} "{printable(str(folder))}" is in use by {describe_holder(Path(folder, LOCK))}; wait for '
            'its end, or give another folder'
        ) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            os.close(descriptor)
            raise
    outer, HELD[key] = HELD.get(key), descriptor  # two only where the file system has no locks
    write_holder(descriptor, describe_process())
    try:
        yield
    finally:
        if HELD.get(key) == descriptor:  # not in a forked process, which has closed it
            del HELD[key]
            if outer is not None:
                HELD[key] = outer
            write_holder(descriptor, '')
            os.close(descriptor)


def holds(folder: str | Path) -> bool:
    """Return whether this process has locked a folder."""
    return os.path.realpath(folder) in HELD


def may_write(folder: str | Path) -> bool:
    """Return whether a part of this job may write in a folder without a lock of its own.

    It may in a folder that its job has locked for all of its parts. In a folder within that one, the first process of
    the job needs a lock, too, since others do not look for locks above; the other processes of the job do not.
    """
    path = Path(os.path.realpath(folder))
    locked = [str(parent) for parent in (path, *path.parents) if str(parent) in JOB]
    return str(path) in locked or any(parent not in HELD for parent in locked)


@contextmanager
def shared_lock(folder: str | Path) -> Iterator[None]:
    """Let this process write in a folder that its job's first process has locked; see :func:`may_write`."""
    key = os.path.realpath(folder)
    new = key not in JOB
    JOB.add(key)
    try:
        yield
    finally:
        if new:
            JOB.discard(key)


def open_lock(folder: Path, what: str) -> int:
    """Open a folder's lock file; refuse links and special files."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        reason = 'it is a link' if error.errno == errno.ELOOP and path.is_symlink() else error.strerror
        raise type(error)(
            error.errno,
            f'{what} "{printable(str(folder))}" cannot be written ({printable(path.name)}: {reason}); give a folder '
            'that may be written',
        ) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a hard link: its other name's content would be lost
        os.close(descriptor)
        raise InputError(f'{what} "{printable(str(folder))}": {LOCK} is no regular file of its own; remove it')
    return descriptor


def describe_process() -> str:
    """Return id, host and start of this process as JSON, the content of a lock file."""
    return json.dumps(dict(pid=os.getpid(), host=socket.gethostname(), since=time.strftime('%Y-%m-%d %H:%M:%S')))


def write_holder(descriptor: int, text: str) -> None:
    """Replace the content of the lock file. Errors are ignored: the lock, not the content, keeps others out."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def describe_holder(path: Path) -> str:
    """Describe the holder from the lock file. The file is untrusted."""
    try:
        holder = parse_json(read_file(path, MAX_LOCK_BYTES, 'lock'), 'lock')
        pid, host, since = (holder[name] for name in ('pid', 'host', 'since'))
    except (OSError, InputError, KeyError):
        return 'another process'
    if type(pid) is not int or not isinstance(host, str) or not isinstance(since, str):
        return 'another process'
    return f'another process ({pid} on {printable(host[:100])}, since {printable(since[:40])})'


def drop_in_child() -> None:
    """Close the inherited locks in a forked process, such as a data loader, which may outlive a killed holder."""
    for descriptor in HELD.values():
        with suppress(OSError):
            os.close(descriptor)
    HELD.clear()
    JOB.clear()


os.register_at_fork(after_in_child=drop_in_child)
