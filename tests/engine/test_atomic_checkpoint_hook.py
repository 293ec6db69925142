"""AtomicCheckpointHook: a checkpoint is whole or not there, and the last one survives what befalls the next."""

import errno
import logging
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint
from mmyolo.registry import HOOKS

from kdeov_mm.utils import find_resume

SIZE = 1000


class Runner:
    """What the hook asks of a runner, with one weight that says the epoch."""

    def __init__(self, work_dir):
        self.work_dir, self.logger, self.epoch, self.iter = str(work_dir), logging.getLogger(), 0, 0
        self.message_hub = MessageHub(f'hub {work_dir}')

    def save_checkpoint(self, out_dir, filename, file_client_args, meta, backend_args, **kwargs):
        save_checkpoint(
            dict(
                state_dict=dict(weight=torch.full((SIZE,), float(meta['epoch']))),
                meta=meta,
                message_hub={},
                optimizer={},
            ),
            str(Path(out_dir, filename)),
            backend_args=backend_args,
        )


@pytest.fixture
def train(tmp_path):
    """Saves the given epochs, as a training does."""

    def run(*epochs, **options):
        hook = HOOKS.build(dict(type='AtomicCheckpointHook', **options))
        runner = Runner(tmp_path)
        hook.before_train(runner)
        for epoch in epochs:
            runner.epoch = epoch - 1
            hook.after_train_epoch(runner)

    return run


@pytest.fixture
def full_disk(monkeypatch):
    """Called, it makes every disk full after half of a file."""

    def put(self, obj, filepath):
        Path(filepath).write_bytes(obj[: len(obj) // 2])
        raise OSError(errno.ENOSPC, 'No space left on device')

    return lambda: monkeypatch.setattr(LocalBackend, 'put', put)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for one checkpoint (three pages), in the place of the work dir."""
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=12k', 'none', str(tmp_path)]
    try:
        done = subprocess.run(mount, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        pytest.skip(f'no file system can be mounted: {error}')
    if done.returncode:
        pytest.skip(f'no file system can be mounted: {done.stderr.strip()}')
    yield tmp_path
    subprocess.run(['umount', str(tmp_path)], check=True)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('keep, left', [(-1, [1, 2, 3]), (2, [2, 3]), (1, [3])])
def test_as_many_are_kept_as_asked_for(train, tmp_path, keep, left):
    train(1, 2, 3, interval=1, max_keep_ckpts=keep)
    assert names(tmp_path) == [f'epoch_{epoch}.pth' for epoch in left] + ['last_checkpoint']
    assert Path(find_resume(tmp_path)).name == 'epoch_3.pth'


@pytest.mark.parametrize('keep', [-1, 1])
def test_a_full_disk_is_named_and_leaves_the_last_checkpoint(train, full_disk, tmp_path, keep):
    train(1, interval=1, max_keep_ckpts=keep)
    before = (tmp_path / 'epoch_1.pth').read_bytes()
    full_disk()
    with pytest.raises(OSError, match=r'epoch_2.pth \(0.0 MB\) could not be written: No space left.*--resume') as error:
        train(2, interval=1, max_keep_ckpts=keep)
    assert error.value.errno == errno.ENOSPC
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert Path(find_resume(tmp_path)).name == 'epoch_1.pth'


def test_a_disk_that_is_really_full(train, small_disk):
    train(1, interval=1)
    before = (small_disk / 'epoch_1.pth').read_bytes()
    assert 4096 < len(before) < 8192  # two pages of three, the third is last_checkpoint's
    with pytest.raises(OSError, match='epoch_2.pth .* could not be written: No space left on device'):
        train(2, interval=1)
    assert names(small_disk) == ['epoch_1.pth', 'last_checkpoint']
    assert (small_disk / 'epoch_1.pth').read_bytes() == before


def test_what_a_killed_training_was_writing_is_removed_by_the_next(train, tmp_path):
    (tmp_path / '.epoch_1.4711.pth').write_bytes(b'half')
    train(1, interval=1)
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']


def test_any_config_can_have_its_own_backend(train, tmp_path):
    train(1, interval=1, backend_args=dict(backend='local'))
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']
