"""tools/dist_train.sh and dist_test.sh: two processes on the CPU do what one does."""

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner, save_checkpoint
from safetensors.torch import load_file

from kdeov_mm.utils import find_resume

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = ROOT / 'configs' / 'kdeov_yolov8n_pretrain.py'
PLUGIN = '''
"""Makes steps comparable: batch statistics are each process's own, and so are left out; losses are noted."""
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmyolo.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm


@HOOKS.register_module(force=True)
class NoteHook(Hook):

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(Path(runner.work_dir, f'losses_{get_rank()}.txt'), 'a') as file:
            file.write(f'{outputs["loss"].item()}\\n')
'''

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Runs a shell script of tools/ with two processes that have no GPU and a cache of their own; returns its log."""

    def run(script, *args):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        paths = os.pathsep.join([str(ROOT), str(tmp_path), os.environ.get('PYTHONPATH', '')])
        environment = dict(
            os.environ,
            PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
            PYTHONPATH=paths,
            PORT=str(port),
            CUDA_VISIBLE_DEVICES='',
            OMP_NUM_THREADS='1',
            KDEOV_CACHE=str(tmp_path / 'cache'),
        )
        done = subprocess.run(
            ['bash', ROOT / 'tools' / script, *map(str, args)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    return run


@pytest.fixture
def comparable(demo_config, tmp_path, monkeypatch):
    """Stage 1, in which neither batch statistics nor Adam's division by small gradients tells the two apart."""
    (tmp_path / 'note.py').write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module('note')

    def make(batch_size):
        cfg = demo_config(config=PRETRAIN)
        cfg.custom_imports.imports.append('note')
        cfg.custom_hooks.append(dict(type='NoteHook'))
        cfg.train_cfg.type = 'ResumableTrainLoop'
        cfg.train_dataloader.batch_size = batch_size
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.0)
        return cfg

    return make


def losses(work_dir, rank):
    return torch.tensor([float(line) for line in Path(work_dir, f'losses_{rank}.txt').read_text().split()])


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(comparable, launch, tmp_path):
    one, two = comparable(8), comparable(4)
    two.dump(str(tmp_path / 'config.py'))
    log = launch('dist_train.sh', tmp_path / 'config.py', 2)
    runner = Runner.from_cfg(one)
    runner.train()
    expected = losses(one.work_dir, 0)
    found = torch.stack([losses(two.work_dir, rank) for rank in (0, 1)])
    assert len(expected) == 8 and expected.unique().numel() == 8
    torch.testing.assert_close(found.mean(0), expected, rtol=1e-4, atol=1e-5)
    weights = torch.load(Path(two.work_dir, 'epoch_2.pth'), weights_only=True)['state_dict']
    torch.testing.assert_close(weights, dict(runner.model.state_dict()), rtol=1e-3, atol=1e-4)
    assert re.search(r'\bgloo\b', log)
    assert sorted(path.name for path in Path(two.work_dir).glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    assert len(list(Path(two.work_dir).glob('*/vis_data/scalars.json'))) == 1
    files = [path for path in (tmp_path / 'cache').rglob('*') if path.is_file()]
    assert len(files) == 3  # class names of training and of validation, captions: each is there once


@pytest.mark.slow
def test_two_processes_test_as_one(demo_config, launch, tmp_path):
    """Also an odd number of images, of which one process sees one twice."""
    cfg = demo_config()
    for loader in cfg.test_dataloader:
        loader.batch_size, loader.dataset.indices = 1, 15  # rounding depends on a batch's size
    cfg.dump(str(tmp_path / 'config.py'))
    Runner.from_cfg(cfg).train()
    checkpoint = find_resume(cfg.work_dir)
    launch('dist_test.sh', tmp_path / 'config.py', checkpoint, 2, '--work-dir', tmp_path / 'two')
    single = demo_config()
    single.test_dataloader, single.load_from = cfg.test_dataloader, checkpoint
    expected = Runner.from_cfg(single).test()
    found = json.loads((tmp_path / 'two/report/metrics.json').read_text())
    found = found.get('metrics', found)
    assert {name: found[name] for name in expected} == expected
    assert len(expected) > 10


@pytest.mark.slow
def test_two_processes_classify_as_one(zero_shot_config, cifar_folder, launch, tmp_path):
    """An odd number of images, with and without cached embeddings, and from the cache of one process."""
    odd = tmp_path / 'odd'
    for name in ('cat', 'dog', 'ship'):
        (odd / name).mkdir(parents=True)
        for path in sorted((cifar_folder / 'test' / name).iterdir())[:5]:
            (odd / name / path.name).symlink_to(path)
    cfg = zero_shot_config('kdeov_yolov8n_folder', odd)
    cfg.test_dataloader[0].batch_size = 1  # rounding depends on a batch's size
    cfg.dump(tmp_path / 'config.json')
    runner = Runner.from_cfg(cfg)
    save_checkpoint(dict(state_dict=runner.model.state_dict(), meta=dict(epoch=1)), str(tmp_path / 'epoch_1.pth'))
    expected = runner.test()
    for name, options in (('plain', ['--cfg-options', 'test_cfg.cache=False']), ('first', []), ('cached', [])):
        launch(
            'dist_test.sh',
            tmp_path / 'config.json',
            tmp_path / 'epoch_1.pth',
            2,
            '--work-dir',
            tmp_path / name,
            *options,
        )
        found = json.loads((tmp_path / name / 'report/metrics.json').read_text())
        assert {key: found[key] for key in expected if '/' in key} == {
            key: value for key, value in expected.items() if '/' in key
        }
    banks = list((tmp_path / 'cache' / 'image_bank').iterdir())
    assert len(banks) == 1 and load_file(banks[0])['image_embedding'].shape == (15, 128)
