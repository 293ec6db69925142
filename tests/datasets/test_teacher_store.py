"""A store of a teacher's answers: whole, damaged, interrupted, of another teacher."""

import json
import multiprocessing
import os
import re
import resource
from pathlib import Path

import pytest
import torch

from kdeov_mm.datasets import TeacherStore, TeacherStoreWriter
from kdeov_mm.utils import InputError, lock_run
from kdeov_mm.utils.lock import LOCK, lock_folder, shared_lock

IDENTITY = dict(teacher='tiny', size=(64, 64))


def shard(number, rows=5):
    generator = torch.Generator().manual_seed(number)
    return dict(image=torch.arange(rows) + 100 * number, embedding=torch.randn(rows, 8, generator=generator).half())


def fill(root, numbers=None, num_shards=4):
    writer = TeacherStoreWriter(root, IDENTITY, num_shards)
    for number in writer.missing() if numbers is None else numbers:
        writer.write(number, shard(number, rows=number))  # shard 0 is empty
    return writer.finish()


def test_rows_come_back_from_all_shards(tmp_path):
    assert fill(tmp_path)
    store = TeacherStore(tmp_path, IDENTITY)
    expected = [torch.cat([shard(i, i)[name] for i in range(4)]) for name in ('image', 'embedding')]
    assert len(store) == 6 and torch.equal(store.column('image'), expected[0])
    order = [5, 0, 3, 3]
    found = store.rows(order)
    assert torch.equal(found['image'], expected[0][order]) and torch.equal(found['embedding'], expected[1][order])
    assert store.rows([])['embedding'].shape == (0, 8)
    for row in (6, -1):
        with pytest.raises(IndexError, match=rf'{row}\b.*\b6\b'):
            store.rows([row])


def test_writing_twice_gives_the_same_bytes(tmp_path):
    fill(tmp_path / 'a')
    fill(tmp_path / 'b', [3, 1, 0, 2])
    files = sorted(path.name for path in (tmp_path / 'a').iterdir())
    assert files == sorted(path.name for path in (tmp_path / 'b').iterdir())
    for name in files:
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_an_interrupted_store_is_gone_on_with(tmp_path):
    assert not fill(tmp_path, [1])
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        TeacherStore(tmp_path)
    before = (tmp_path / 'shard-00001.safetensors').stat().st_mtime_ns
    assert TeacherStoreWriter(tmp_path, IDENTITY, 4).missing() == [0, 2, 3]
    assert fill(tmp_path)
    assert (tmp_path / 'shard-00001.safetensors').stat().st_mtime_ns == before
    assert len(TeacherStore(tmp_path)) == 6


def test_processes_share_the_shards(tmp_path):
    writer = TeacherStoreWriter(tmp_path, IDENTITY, 5)
    parts = [writer.missing(rank, 2) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == [0, 1, 2, 3, 4]


def test_a_writer_killed_in_a_shard_leaves_no_half_shard(tmp_path):
    def write_and_die(root):
        from kdeov_mm.datasets import teacher_store

        save = teacher_store.save_file

        def half(tensors, path):
            save(tensors, path)
            os.truncate(path, os.path.getsize(path) // 2)
            os._exit(9)

        teacher_store.save_file = half
        TeacherStoreWriter(root, IDENTITY, 4).write(2, shard(2))

    process = multiprocessing.get_context('fork').Process(target=write_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert TeacherStoreWriter(tmp_path, IDENTITY, 4).missing() == [0, 1, 2, 3]
    assert fill(tmp_path) and len(TeacherStore(tmp_path)) == 6


def test_another_identity_is_refused(tmp_path):
    fill(tmp_path)
    for wanted, named in (
        (dict(teacher='other'), "teacher.*'tiny'.*'other'"),
        (dict(size=(32, 32)), r'size.*\[64, 64\].*\[32, 32\]'),
    ):
        with pytest.raises(ValueError, match=named):
            TeacherStore(tmp_path, wanted)
    with pytest.raises(ValueError, match=r'num_shards\b.*\b4\b.*\b3\b'):
        TeacherStoreWriter(tmp_path, IDENTITY, 3)
    with pytest.raises(FileNotFoundError, match='nothing'):
        TeacherStore(tmp_path / 'nothing')


@pytest.mark.parametrize('damage', ['flip', 'truncate', 'remove'])
def test_damage_is_found_on_opening(tmp_path, damage):
    fill(tmp_path)
    path = tmp_path / 'shard-00002.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    {'flip': lambda: path.write_bytes(content), 'truncate': lambda: os.truncate(path, 100), 'remove': path.unlink}[
        damage
    ]()
    with pytest.raises(ValueError, match=r'shard-00002\.safetensors'):
        TeacherStore(tmp_path)


def test_opening_does_not_read_the_rows_into_memory(tmp_path):
    writer = TeacherStoreWriter(tmp_path, IDENTITY, 1)
    writer.write(0, dict(embedding=torch.zeros(1 << 16, 512).half()))  # 64 MiB
    writer.finish()

    def resident():
        return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()

    if not Path('/proc/self/statm').exists():
        pytest.skip('needs /proc')
    before = resident()
    store = TeacherStore(tmp_path)
    store.rows([0, 60000])
    assert resident() - before < 16 << 20


def test_rows_must_belong_together(tmp_path):
    writer = TeacherStoreWriter(tmp_path, IDENTITY, 1)
    with pytest.raises(ValueError, match="{'a': 2, 'b': 3}"):
        writer.write(0, dict(a=torch.zeros(2), b=torch.zeros(3)))
    assert json.loads((tmp_path / 'identity.json').read_text())['num_shards'] == 1


# ------------------------------------------------------------------------------------------------ two writers
def snapshot(root):
    return {path.name: path.read_bytes() for path in Path(root).iterdir()}


def test_a_second_writer_is_refused_until_the_first_has_finished(tmp_path):
    first = TeacherStoreWriter(tmp_path, IDENTITY, 2)
    first.write(0, shard(0))
    before = snapshot(tmp_path)
    for identity in (IDENTITY, dict(teacher='other')):
        with pytest.raises(InputError) as refused:
            TeacherStoreWriter(tmp_path, identity, 2)
        assert str(os.getpid()) in str(refused.value) and str(tmp_path) in str(refused.value)
    assert snapshot(tmp_path) == before
    first.write(1, shard(1))
    assert first.finish()
    with TeacherStoreWriter(tmp_path, IDENTITY, 2) as second:
        assert second.missing() == [] and first.finish()
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        first.write(0, shard(0))


@pytest.mark.parametrize('locked', ['.', 'images'])
def test_writers_within_the_lock_of_their_job(tmp_path, locked):
    with lock_run(tmp_path / locked, 'store'):
        assert fill(tmp_path / 'images')
        assert fill(tmp_path / 'images')
    with shared_lock(tmp_path):  # as in a process that is not the job's first
        TeacherStoreWriter(tmp_path / 'other', IDENTITY, 1)
        assert not (tmp_path / 'other' / LOCK).exists()
    with lock_folder(tmp_path, 'store'):  # by another part of this process, which may not be writing it
        TeacherStoreWriter(tmp_path / 'other', IDENTITY, 1)
    assert (tmp_path / 'other' / LOCK).exists()
