"""configs/cifar10: a teacher trained on class names, and a student of it that sees no label."""

from pathlib import Path

import pytest
import torch
from config_nodes import dicts
from mmengine.runner import Runner

from kdeov_mm.utils import load_config
from tool_loading import run_tool

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture
def config(cifar_folder, tmp_path):
    """Makes a config of the folder on few images, for one epoch."""

    def make(name, number=0):
        cfg = load_config(
            str(ROOT / 'configs' / 'cifar10' / f'{name}.py'),
            data_root=f'{cifar_folder}/',
            work_dir=str(tmp_path / f'{name}{number}'),
        )
        cfg.train_dataloader.update(batch_size=30, num_workers=0)
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler = cfg.param_scheduler[:1]
        cfg.log_level, cfg.experiment_name = 'WARNING', f'{tmp_path.name}{name}{number}'
        return cfg

    return make


@pytest.fixture
def weights(config, tmp_path):
    """The trained teacher's, exported."""
    cfg = config('cifar10_teacher')
    Runner.from_cfg(cfg).train()
    path = str(tmp_path / 'teacher.safetensors')
    run_tool('export_weights', f'{cfg.work_dir}/epoch_1.pth', path, '--prefix', 'clip.')
    return path


def test_teacher_and_student(config, weights):
    def train(number, shuffle=False):
        cfg = config('kdeov_yolov8n_cifar10_stage1', number)
        for node in dicts(cfg._cfg_dict):
            if node.get('pretrained'):
                node.pretrained = weights
        runner = Runner.from_cfg(cfg)
        if shuffle:
            data = runner.train_dataloader.dataset
            data.labels = [9 - label for label in data.labels]
        runner.train()
        return runner

    first, second = train(0), train(1, shuffle=True)
    state = second.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in first.model.state_dict().items())  # no label is seen
    metrics = first.test()
    assert {'cifar10/all/top1', 'teacher/cifar10/all/top1'} <= set(metrics)
