"""The commands of the documents that train and test on the shapes world run, with one epoch of few images."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from docs_commands import ROOT, read_commands
from safetensors.torch import load_file

from kdeov_mm.datasets.shapes import SPLITS
from kdeov_mm.utils import load_config
from kdeov_mm.utils.config import first_test_dataloader
from kdeov_mm.utils.model_index import find_model

pytestmark = pytest.mark.slow
TOOLS = ('train', 'test', 'cache_teacher')
FEW = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=8', *(f'shapes_world.sizes.{name}=16' for name in SPLITS)]
DOCUMENTS = ('ablations', 'benchmark_detector', 'comparison', 'configs', 'models', 'pretrain', 'report')
DOCUMENTS += ('teacher_cache', 'training', 'zero_shot')


def commands_of(document):
    """Those on the shapes world, which needs no download."""
    for command in read_commands(ROOT / 'docs' / f'{document}.md'):
        words = command.words
        if words[0] == 'python' and Path(words[1]).stem in TOOLS and (ROOT / words[2]).is_file():
            cfg = load_config(str(ROOT / words[2]))
            if 'shapes_world' in cfg and first_test_dataloader(cfg).dataset.type == 'OVCocoDataset':
                yield words


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """Links to the code, and the shipped student as the training's last checkpoint."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('configs', 'tools', 'kdeov_mm'):
        (folder / name).symlink_to(ROOT / name)
    trained = folder / 'work_dirs' / 'kdeov_yolov8n'
    trained.mkdir(parents=True)
    checkpoint = dict(state_dict=load_file(find_model('kdeov_yolov8n').weights), meta={}, optimizer={}, message_hub={})
    torch.save(checkpoint, trained / 'epoch_14.pth')
    (trained / 'last_checkpoint').write_text(str(trained / 'epoch_14.pth'))
    return folder


@pytest.mark.parametrize('document', DOCUMENTS)
def test_commands(checkout, document):
    commands = list(commands_of(document))
    assert commands
    for words in commands:
        done = subprocess.run(
            [sys.executable, *words[1:], *([] if '--cfg-options' in words else ['--cfg-options']), *FEW],
            cwd=checkout,
            env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f'{" ".join(words)}: {done.stdout[-1000:]}{done.stderr[-3000:]}'
        for first in checkout.glob('work_dirs/*/epoch_1.pth'):  # documents name the last epoch of a whole training
            shutil.copy(first, first.with_name('epoch_14.pth'))
