"""AtomicCheckpointHook: a checkpoint is whole or not there, and the last one survives what befalls the next."""

import errno
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.logging import MessageHub
from mmengine.runner import save_checkpoint
from mmyolo.registry import HOOKS

from kdeov_mm.engine.hooks import AtomicCheckpointHook
from kdeov_mm.utils import InputError, find_resume
from kdeov_mm.utils.lock import LOCK, lock_folder

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
    """A file system with room for one checkpoint (four pages), in the place of the work dir."""
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=16k', 'none', str(tmp_path)]
    try:
        done = subprocess.run(mount, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError as error:
        pytest.skip(f'no file system can be mounted: {error}')
    if done.returncode:
        pytest.skip(f'no file system can be mounted: {done.stderr.strip()}')
    yield tmp_path
    subprocess.run(['umount', '-l', str(tmp_path)], check=True)  # also while something still looks at it


def names(folder):
    """All but the lock, which stays while this process lives."""
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK)


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
    with pytest.raises(OSError, match=r'epoch_2\.pth \(0\.0 MB\).*--resume') as error:
        train(2, interval=1, max_keep_ckpts=keep)
    assert error.value.errno == errno.ENOSPC
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']
    assert (tmp_path / 'epoch_1.pth').read_bytes() == before
    assert Path(find_resume(tmp_path)).name == 'epoch_1.pth'


def test_a_disk_that_is_really_full(train, small_disk):
    train(1, interval=1)
    before = (small_disk / 'epoch_1.pth').read_bytes()
    assert 4096 < len(before) < 8192  # two pages of four, the others are last_checkpoint's and the lock's
    with pytest.raises(OSError, match=r'epoch_2\.pth') as error:
        train(2, interval=1)
    assert error.value.errno == errno.ENOSPC
    assert names(small_disk) == ['epoch_1.pth', 'last_checkpoint']
    assert (small_disk / 'epoch_1.pth').read_bytes() == before


def test_what_a_killed_training_was_writing_is_removed_by_the_next(train, tmp_path):
    (tmp_path / '.epoch_1.4711.pth').write_bytes(b'half')
    train(1, interval=1)
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']


def test_any_config_can_have_its_own_backend(train, tmp_path):
    train(1, interval=1, backend_args=dict(backend='local'))
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']


# ------------------------------------------------------------------------------------ last_checkpoint
def test_last_checkpoint_is_replaced_whole(train, tmp_path, monkeypatch):
    """Killed or out of space while it is written, it names the checkpoint before, which is there."""
    train(1, interval=1)
    replaced = []
    replace = os.replace

    def stop(source, target):
        if Path(target).name == 'last_checkpoint':
            replaced.append((Path(source).read_text(), (tmp_path / 'last_checkpoint').read_text()))
            raise OSError(errno.ENOSPC, 'No space left on device')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', stop)
    with pytest.raises(OSError):
        train(2, interval=1)
    assert replaced == [(str(tmp_path / 'epoch_2.pth'), str(tmp_path / 'epoch_1.pth'))]
    assert Path((tmp_path / 'last_checkpoint').read_text()).name == 'epoch_1.pth'
    assert names(tmp_path) == ['epoch_1.pth', 'epoch_2.pth', 'last_checkpoint']


def test_checkpoint_and_folder_are_synced_before_last_checkpoint_names_it(train, tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        events.append(('sync', os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))[:9]))
        fsync(descriptor)

    def noted_replace(source, target):
        replace(source, target)
        events.append(('there', Path(target).name))

    monkeypatch.setattr(os, 'fsync', noted_fsync)
    monkeypatch.setattr(os, 'replace', noted_replace)
    train(1, interval=1)
    folder = ('sync', tmp_path.name[:9])
    assert events == [
        ('sync', '.epoch_1.'),
        ('there', 'epoch_1.pth'),
        folder,
        ('sync', '.last_che'),
        ('there', 'last_checkpoint'),
        folder,
    ]


# ------------------------------------------------------------------------------------ the best one
@pytest.fixture
def best(tmp_path):
    """A hook that has saved epoch 1 as the best one; call it with the score of the next epoch."""
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', interval=1, save_best='score', rule='greater'))
    runner = Runner(tmp_path)
    hook.before_train(runner)

    def validate(score):
        hook.after_train_epoch(runner)
        runner.epoch += 1  # MMEngine counts an epoch before it validates
        hook.after_val_epoch(runner, dict(score=score))
        return hook

    validate.runner, validate.hook = runner, hook
    validate(0.5)
    return validate


def best_names(folder):
    return sorted(path.name for path in folder.glob('best_*'))


def test_only_the_best_one_is_kept(best, tmp_path):
    assert best_names(tmp_path) == ['best_score_epoch_1.pth']
    best(0.4)
    assert best_names(tmp_path) == ['best_score_epoch_1.pth']
    best(0.6)
    assert best_names(tmp_path) == ['best_score_epoch_3.pth']
    assert best.hook.best_ckpt_path == str(tmp_path / 'best_score_epoch_3.pth')


def test_two_best_ones(tmp_path):
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', interval=1, save_best=['a', 'b'], rule='greater'))
    runner = Runner(tmp_path)
    hook.before_train(runner)
    for a, b in ((1, 2), (2, 1), (3, 0)):
        hook.after_train_epoch(runner)
        runner.epoch += 1
        hook.after_val_epoch(runner, dict(a=float(a), b=float(b)))
    assert best_names(tmp_path) == ['best_a_epoch_3.pth', 'best_b_epoch_1.pth']


def test_a_full_disk_leaves_the_best_one(best, full_disk, tmp_path):
    put = LocalBackend.put
    full_disk()
    full = LocalBackend.put
    LocalBackend.put = lambda self, obj, path: (full if '.best' in str(path) else put)(self, obj, path)
    with pytest.raises(OSError):
        best(0.6)
    assert best_names(tmp_path) == ['best_score_epoch_1.pth']


@pytest.mark.parametrize('best', ['own', 'work_dir/..', 'work_dir/.', 'work_dir/'])
def test_a_checkpoint_from_elsewhere_removes_no_file_of_another_folder(tmp_path, best):
    (tmp_path / 'own').write_text('mine')
    hook = HOOKS.build(dict(type='AtomicCheckpointHook', interval=1, save_best='score', rule='greater'))
    runner = Runner(tmp_path / 'work_dir')
    runner.message_hub.update_info('best_ckpt', f'{tmp_path}/{best}')  # as a resumed checkpoint says
    hook.before_train(runner)
    hook.after_train_epoch(runner)
    hook.after_val_epoch(runner, dict(score=1.0))
    assert (tmp_path / 'own').read_text() == 'mine' and (tmp_path / 'work_dir').is_dir()


# ------------------------------------------------------------------------------------ two trainings
def test_another_training_in_the_folder_is_refused_and_keeps_its_unfinished_save(train, tmp_path):
    unfinished = tmp_path / '.epoch_1.4711.pth'
    ready, end = multiprocessing.Event(), multiprocessing.Event()

    def hold():
        with lock_folder(tmp_path, 'work dir'):
            unfinished.write_bytes(b'half')
            ready.set()
            end.wait()

    process = multiprocessing.get_context('fork').Process(target=hold)
    process.start()
    ready.wait()
    with pytest.raises(InputError) as refused:
        train(1, interval=1)
    assert str(process.pid) in str(refused.value)
    assert unfinished.read_bytes() == b'half'
    end.set()
    process.join()
    train(1, interval=1)
    assert names(tmp_path) == ['epoch_1.pth', 'last_checkpoint']


def test_the_folder_is_free_after_the_run(tmp_path):
    hook, runner = AtomicCheckpointHook(interval=1), Runner(tmp_path)
    hook.after_run(runner)  # of a test
    hook.before_train(runner)
    with pytest.raises(InputError), lock_folder(tmp_path, 'work dir'):
        pass
    hook.after_run(runner)
    with lock_folder(tmp_path, 'work dir'):
        pass


def test_checkpoints_in_another_folder_are_locked_too(tmp_path):
    hook, runner = AtomicCheckpointHook(interval=1, out_dir=str(tmp_path / 'out')), Runner(tmp_path / 'run')
    hook.before_train(runner)
    for folder in (tmp_path / 'out' / 'run', tmp_path / 'run'):
        with pytest.raises(InputError), lock_folder(folder, 'work dir'):
            pass


# ------------------------------------------------------------------------------------ kill -9
KILLS = int(os.environ.get('KDEOV_KILLS', 4))


def save_for_ever(folder, done):
    """Go on from the last checkpoint, and save as fast as possible; each finished save is told."""
    hook, runner = AtomicCheckpointHook(interval=1, max_keep_ckpts=1), Runner(folder)
    if last := find_resume(folder):
        meta = torch.load(last, weights_only=True)['meta']
        runner.epoch = meta['epoch']
        runner.message_hub.update_info('keep_ckpt_ids', [runner.epoch])
    hook.before_train(runner)
    while True:
        hook.after_train_epoch(runner)
        runner.epoch += 1
        done.value = runner.epoch


def test_a_kill_at_any_time_loses_the_unfinished_save_at_most(tmp_path):
    rng, processes = random.Random(int(os.environ.get('KDEOV_KILL_SEED', 0))), multiprocessing.get_context('fork')
    done = processes.Value('i', 0)
    for _ in range(KILLS):
        before = done.value
        process = processes.Process(target=save_for_ever, args=(tmp_path, done))
        process.start()
        while done.value == before and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        checkpoint = torch.load(find_resume(tmp_path), weights_only=True)
        assert done.value <= checkpoint['meta']['epoch'] <= done.value + 1
        assert (checkpoint['state_dict']['weight'] == checkpoint['meta']['epoch']).all()
