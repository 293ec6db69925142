"""One writer a folder: who is refused, what is told, and when the lock is free again."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from kdeov_mm.utils import InputError
from kdeov_mm.utils.lock import LOCK, MAX_LOCK_BYTES, holds, lock_folder

processes = multiprocessing.get_context('fork')


def hold_lock(folder, number, fork):
    with lock_folder(folder, 'work dir'):
        child = os.fork() if fork else os.getpid()
        if child:
            number.send(child)
        time.sleep(60)


@pytest.fixture
def hold(tmp_path):
    """Starts a process that holds the lock; returns it when it does, and the PID of a process that it has forked."""
    started = []

    def start(fork=False):
        receiver, sender = processes.Pipe()
        process = processes.Process(target=hold_lock, args=(tmp_path, sender, fork))
        process.start()
        child = receiver.recv()
        started.extend({process.pid, child})
        return process, child

    yield start
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def lock_once(folder):
    with lock_folder(folder, 'work dir'):
        pass


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path, hold):
    process, _ = hold()
    with pytest.raises(InputError) as refused:
        lock_once(tmp_path)
    process.kill()
    process.join()
    for part in (str(process.pid), os.uname().nodename, str(tmp_path), 'work dir'):
        assert part in str(refused.value)
    with lock_folder(tmp_path, 'work dir'):  # free at once
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    assert (tmp_path / LOCK).read_bytes() == b''


def test_the_lock_of_a_killed_process_is_free_though_a_process_that_it_forked_lives_on(tmp_path, hold):
    process, child = hold(fork=True)
    process.kill()
    process.join()
    os.kill(child, 0)  # lives
    lock_once(tmp_path)


def test_a_fork_does_not_take_the_lock_away(tmp_path):
    with lock_folder(tmp_path, 'work dir'):
        process = processes.Process(target=lock_once, args=(tmp_path,))
        process.start()
        process.join()
        assert process.exitcode == 1  # refused
        assert holds(tmp_path) and json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    assert not holds(tmp_path)


def test_two_parts_of_one_process_exclude_each_other(tmp_path):
    with lock_folder(tmp_path, 'index'):
        with pytest.raises(InputError), lock_folder(tmp_path, 'index'):
            pass
        assert holds(tmp_path)
    with lock_folder(tmp_path, 'index'):
        pass


def test_waiting(tmp_path, hold):
    process, _ = hold()
    threading.Timer(0.3, process.kill).start()
    began = time.monotonic()
    with lock_folder(tmp_path, 'data', wait=True):
        assert time.monotonic() - began > 0.2
    process.join()


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'no JSON',
        b'[]',
        b'{}',
        b'{"pid": "1", "host": "h", "since": "s"}',
        b'\xff',
        b'9' * (MAX_LOCK_BYTES + 1),
        b'{"pid": 1, "host": "\\u001b[31mred", "since": "now"}',
    ],
)
def test_whatever_stands_in_the_file_is_told_safely(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with open(tmp_path / LOCK) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError) as refused, lock_folder(tmp_path, 'work dir'):
            pass
    assert '\x1b' not in str(refused.value) and len(str(refused.value)) < 500


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / 'own').write_text('mine')
    (tmp_path / LOCK).symlink_to(tmp_path / 'own')
    with pytest.raises(OSError) as refused, lock_folder(tmp_path, 'index'):
        pass
    assert refused.value.errno == errno.ELOOP and str(tmp_path) in str(refused.value)
    assert (tmp_path / 'own').read_text() == 'mine'


@pytest.mark.parametrize('make', [os.mkfifo, os.mkdir])
def test_a_special_file_is_refused(tmp_path, make):
    make(tmp_path / LOCK)
    with pytest.raises((InputError, OSError)) as refused, lock_folder(tmp_path, 'index'):
        pass
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks(tmp_path, monkeypatch, number):
    def flock(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'flock', flock)
    with lock_folder(tmp_path, 'work dir'), lock_folder(tmp_path, 'work dir'):
        pass


def test_object_stores_have_no_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lock_folder('s3://bucket/index', 'index'):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_reason_to_refuse(tmp_path, monkeypatch):
    def pwrite(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'pwrite', pwrite)
    with lock_folder(tmp_path, 'work dir'):
        assert holds(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError) as refused, lock_folder(tmp_path / 'file' / 'folder', 'work dir'):
        pass
    assert 'work dir' in str(refused.value) and str(tmp_path) in str(refused.value)


def test_a_hard_link_as_lock_keeps_its_content(tmp_path):
    (tmp_path / 'precious').write_text('content')
    (tmp_path / 'work').mkdir()
    os.link(tmp_path / 'precious', tmp_path / 'work/.lock')
    with pytest.raises(InputError):
        with lock_folder(tmp_path / 'work', 'work dir'):
            pass
    assert (tmp_path / 'precious').read_text() == 'content'
