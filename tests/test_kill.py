"""Faults during training: kill -9, Ctrl-C, a full disk, a read-only folder, a second training in the same folder.

A training that is killed again and again ends with the weights of an undisturbed one, bit by bit.
``KDEOV_KILLS`` in the environment is the number of kills, ``KDEOV_KILL_SEED`` chooses their moments.
"""

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import mmengine.config.config
import pytest
import torch
from config_nodes import leave_config_text
from forked import processes
from tool_loading import load_tool

from kdeov_mm.utils import lock_run
from kdeov_mm.utils.lock import LOCK, lock_folder

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, STEPS = 2, 4
KILLS = int(os.environ.get('KDEOV_KILLS', 4))
SEED = int(os.environ.get('KDEOV_KILL_SEED', 0))


def all_moments():
    """The moments of a training at which it may be killed, in their order."""
    moments = []
    for step in range(1, EPOCHS * STEPS + 1):
        moments += [('update', step), ('write', step), ('saved', step)]
        moments += [('validate', step // STEPS)] if step % STEPS == 0 else []
    return moments


def choose_moments(count, seed):
    """Choose one moment of each kind, then random ones."""
    rng, everything = random.Random(seed), all_moments()
    first = [
        rng.choice([moment for moment in everything if moment[0] == kind])
        for kind in ('write', 'validate', 'update', 'saved')
    ][:count]
    rest = [moment for moment in everything if moment not in first]
    return sorted(first + rng.sample(rest, count - len(first)), key=everything.index)


def wait_for_the_kill(mark, kind, index):
    """Make this process stop at a moment, and say so by a file."""
    from mmengine.fileio import LocalBackend
    from mmengine.optim import OptimWrapper
    from mmengine.runner import Runner, ValLoop

    def stop():
        Path(mark).touch()
        time.sleep(3600)

    put, step, save, validate = LocalBackend.put, OptimWrapper.step, Runner.save_checkpoint, ValLoop.run_iter

    def put_half(self, content, path):
        if Path(path).name.startswith(f'.iter_{index}.'):
            Path(path).write_bytes(content[: len(content) // 2])
            stop()
        put(self, content, path)

    def step_never(self, **kwargs):
        if self._inner_count == index:
            stop()
        step(self, **kwargs)

    def save_then_stop(self, out_dir, filename, *args, **kwargs):
        save(self, out_dir, filename, *args, **kwargs)
        if filename == f'iter_{index}.pth':  # last_checkpoint still names the one before
            stop()

    def validate_one(self, *args):
        validate(self, *args)
        if self.runner.epoch == index:
            stop()

    if kind == 'write':
        LocalBackend.put = put_half
    elif kind == 'update':
        OptimWrapper.step = step_never
    elif kind == 'saved':
        Runner.save_checkpoint = save_then_stop
    else:
        ValLoop.run_iter = validate_one


def work(config, work_dir, log, moment, max_bytes=None):
    """Run tools/train.py, as far as the moment if there is one, with files of a limited size if there is a limit."""
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    mmengine.config.config.FormatCode = leave_config_text
    if moment:
        wait_for_the_kill(f'{log}.stopped', *moment)
    if max_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    tool = load_tool('train')
    sys.argv = ['train.py', str(config), '--work-dir', str(work_dir), '--resume']
    tool.main()


class Training:
    """Stage 1 with validation and a moving average, which saves at each step.

    Args:
        folder: The folder of the config, ``config.py``, the work dirs and the logs.
    """

    def __init__(self, folder):
        self.folder = folder

    def start(self, name, moment=None, max_bytes=None):
        """Start a process and wait until it ends or has reached the moment; return process and log."""
        log = self.folder / f'{name} {moment} {max_bytes}.txt'
        arguments = (self.folder / 'config.py', self.folder / name, log, moment, max_bytes)
        process = processes.Process(target=work, args=arguments)
        process.start()
        while process.is_alive() and not Path(f'{log}.stopped').exists():
            time.sleep(0.02)
        return process, log

    def __call__(self, name, moment=None):
        """Train to the end, or kill the training at the moment; return the work dir."""
        process, log = self.start(name, moment)
        process.kill()
        process.join()
        assert process.exitcode == (-signal.SIGKILL if moment else 0), log.read_text()[-3000:]
        return self.folder / name


@pytest.fixture
def train(demo_config, tmp_path):
    cfg = demo_config(config=ROOT / 'configs' / 'kdeov_yolov8n_pretrain.py', epochs=EPOCHS)
    cfg.train_cfg.type = 'ResumableTrainLoop'
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1, max_keep_ckpts=1)
    cfg.custom_hooks.append(
        dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.1, update_buffers=True, priority=49)
    )
    cfg.dump(str(tmp_path / 'config.py'))
    return Training(tmp_path)


@pytest.mark.slow
def test_a_training_killed_at_any_moment_gives_the_weights_of_an_undisturbed_one(train):
    cut = None
    for moment in choose_moments(KILLS, SEED):
        cut = train('cut', moment)
        kind, step = moment
        if kind == 'write':
            assert [path.name for path in cut.glob('.iter_*.pth')] and not (cut / f'iter_{step}.pth').exists()
    cut, whole = train('cut'), train('whole')
    last = f'iter_{EPOCHS * STEPS}.pth'
    first, second = (torch.load(path / last, weights_only=True) for path in (cut, whole))
    for part in ('state_dict', 'ema_state_dict'):
        assert first[part].keys() == second[part].keys()
        assert [name for name in second[part] if not torch.equal(first[part][name], second[part][name])] == []
    assert not list(cut.glob('.*.pth'))


def last_line(log):
    """Return the last line of a training that ended without a traceback."""
    text = log.read_text()
    assert 'Traceback' not in text, text[-3000:]
    return text.strip().splitlines()[-1]


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob('*')}


@pytest.mark.slow
def test_a_second_training_in_a_work_dir_is_refused_and_changes_nothing(train, tmp_path):
    first, _ = train.start('shared', ('write', 3))
    before = files(tmp_path / 'shared')
    second, log = train.start('shared')
    second.join()
    assert second.exitcode == 2 and str(first.pid) in last_line(log)
    assert files(tmp_path / 'shared') == before and [name for name in before if name.startswith('.iter_3.')]
    first.kill()
    first.join()
    train('shared')  # free at once


@pytest.mark.slow
def test_ctrl_c_says_what_is_saved(train, tmp_path):
    process, log = train.start('stopped', ('update', 4))
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert str(tmp_path / 'stopped' / 'iter_3.pth') in last_line(log) and '--resume' in last_line(log)
    assert (tmp_path / 'stopped' / 'iter_3.pth').is_file() and not list((tmp_path / 'stopped').glob('.*.pth'))


@pytest.mark.slow
def test_a_full_disk_in_training_ends_with_one_line_and_loses_nothing(train, tmp_path):
    work_dir = train('full', ('saved', 2))
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_2.pth'))
    before = (work_dir / 'iter_2.pth').read_bytes()
    names = sorted(path.name for path in work_dir.glob('**/*.pth'))  # the killed run may have left an outdated one
    process, log = train.start('full', max_bytes=len(before) // 2)
    process.join()
    assert process.exitcode == 2 and 'iter_3.pth' in last_line(log)
    assert sorted(path.name for path in work_dir.glob('**/*.pth')) == names
    assert (work_dir / 'iter_2.pth').read_bytes() == before
    train('full')


@pytest.mark.slow
def test_a_read_only_work_dir_ends_with_one_line_before_training(train, tmp_path):
    (tmp_path / 'locked').mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'ro', 'none', str(tmp_path / 'locked')]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('no file system can be mounted')
    try:
        process, log = train.start('locked')
        process.join()
    finally:
        subprocess.run(['umount', str(tmp_path / 'locked')], check=True)
    assert process.exitcode == 2 and str(tmp_path / 'locked') in last_line(log)


# ------------------------------------------------------------------------------------ without training
@pytest.mark.parametrize(
    'tool, arguments',
    [
        ('train', ['configs/kdeov_yolov8n.py', '--work-dir', '{folder}']),
        ('cache_teacher', ['configs/kdeov_yolov8n_pretrain.py', '{folder}']),
        ('cache_regions', ['configs/kdeov_yolov8n.py', 'absent.pth', '{folder}']),
    ],
)
def test_a_second_writer_is_refused_before_it_writes(tmp_path, monkeypatch, capsys, tool, arguments):
    ready, end = multiprocessing.Event(), multiprocessing.Event()

    def hold():
        with lock_folder(tmp_path, 'folder'):
            ready.set()
            end.wait()

    process = multiprocessing.get_context('fork').Process(target=hold)
    process.start()
    ready.wait()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *(each.format(folder=tmp_path) for each in arguments)])
    with pytest.raises(SystemExit) as stop:
        load_tool(tool).main()
    end.set()
    process.join()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and str(process.pid) in error and str(tmp_path) in error
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_the_next_writer_of_a_store_removes_what_a_killed_one_left(tmp_path):
    finished = tmp_path / 'images' / 'shard-00000.safetensors'
    unfinished = tmp_path / 'images' / '.shard-00001.12ab.safetensors'
    finished.parent.mkdir()
    for path in (finished, unfinished):
        path.write_bytes(b'shard')
    with lock_run(tmp_path, 'store', ['**/.shard-*.safetensors']):
        assert list(finished.parent.iterdir()) == [finished]
