"""Files: regular and small enough, or refused; written whole or not at all."""

import os
import socket
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from kdeov_mm.utils import InputError
from kdeov_mm.utils.files import atomic_path, read_file, walk_files, write_atomically

pytestmark = pytest.mark.usefixtures('bounded_memory')


def test_a_regular_file_is_read_whole(tmp_path):
    (tmp_path / 'a').write_bytes(b'12345')
    assert read_file(tmp_path / 'a', 5) == b'12345'
    os.symlink(tmp_path / 'a', tmp_path / 'link')
    assert read_file(tmp_path / 'link', 5) == b'12345'


@pytest.mark.parametrize('kind', ['fifo', 'zero', 'folder', 'socket', 'large'])
def test_special_and_large_files_are_refused(tmp_path, kind):
    path = tmp_path / 'x.jpg'
    if kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'zero':
        path.symlink_to('/dev/zero')
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'socket':
        held = socket.socket(socket.AF_UNIX)
        held.bind(str(path))
    else:
        path.write_bytes(b'123456')
    with pytest.raises(InputError, match='x.jpg'):
        read_file(path, 5)


def test_a_missing_file_and_a_null_character(tmp_path):
    with pytest.raises(FileNotFoundError, match='none'):
        read_file(tmp_path / 'none', 5)
    with pytest.raises(InputError):
        read_file('a\0b', 5)


def test_links_to_folders_above_end(tmp_path):
    below = tmp_path / 'top' / 'below'
    below.mkdir(parents=True)
    (below / 'a.jpg').touch()
    (below / 'again').symlink_to(tmp_path / 'top')
    (tmp_path / 'top' / 'self').symlink_to('.')
    (tmp_path / 'top' / 'gone').symlink_to('nowhere')
    outside = tmp_path / 'outside'
    outside.mkdir()
    (outside / 'b.jpg').touch()
    (below / 'elsewhere').symlink_to(outside)
    found = [os.path.relpath(path, tmp_path / 'top') for path in walk_files(tmp_path / 'top')]
    assert found == ['below/a.jpg', 'below/elsewhere/b.jpg', 'gone']


def test_a_planted_link_is_not_followed(tmp_path):
    target = tmp_path / 'target'
    target.write_text('precious')
    for name in ('.table.txt', f'.table.{os.getpid()}.txt'):
        (tmp_path / name).symlink_to(target)
    write_atomically(tmp_path / 'table.txt', 'new')
    assert target.read_text() == 'precious'
    assert (tmp_path / 'table.txt').read_text() == 'new'


def test_threads_do_not_collide(tmp_path):
    together = threading.Barrier(8)

    def write(number):
        together.wait()
        with atomic_path(tmp_path / 'a.txt') as partial:
            partial.write_text(str(number) * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    content = (tmp_path / 'a.txt').read_text()
    assert len(content) == 1000 and len(set(content)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['a.txt']


def test_permissions_are_those_of_a_new_file(tmp_path):
    write_atomically(tmp_path / 'a.txt', '')
    (tmp_path / 'b.txt').touch()
    assert (tmp_path / 'a.txt').stat().st_mode == (tmp_path / 'b.txt').stat().st_mode


def test_a_small_file_takes_little_memory_whatever_the_limit(tmp_path):
    (tmp_path / 'small').write_bytes(b'content')
    tracemalloc.start()
    assert read_file(tmp_path / 'small', 2**40) == b'content'
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_folders_may_lie_deeper_than_pythons_stack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1100):
        os.mkdir('d')
        os.chdir('d')
    open('a.txt', 'w').close()
    monkeypatch.chdir(tmp_path)
    found = list(walk_files('.'))
    assert len(found) == 1 and found[0].endswith('d/a.txt') and found[0].count('d/') == 1100
    for _ in range(1100):  # pytest removes folders by recursion
        os.rename('d/d', 'e') if os.path.isdir('d/d') else os.unlink('d/a.txt')
        os.rmdir('d')
        if os.path.isdir('e'):
            os.rename('e', 'd')


def test_the_order_of_a_walk(tmp_path):
    for name in ('b/2.txt', 'b/1.txt', 'a.txt', 'c/d/e.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(path, tmp_path) for path in walk_files(tmp_path)]
    assert found == ['a.txt', 'b/1.txt', 'b/2.txt', 'c/d/e.txt']
