"""The commands of the documents on deployment run as they stand, in a folder like a checkout after ``make demo``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from docs_commands import ROOT, read_commands
from safetensors.torch import load_file

from kdeov_mm.datasets import ensure_world
from kdeov_mm.utils.model_index import find_model

pytestmark = pytest.mark.slow
TOOLS = ('make_shapes', 'export', 'export_weights', 'index', 'benchmark_index')  # the others are servers or take hours
OPTIONAL = {'--distributed': 'ray'}


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """Links to the code, a world of few images, and the shipped student as the training's last checkpoint."""
    folder = tmp_path_factory.mktemp('checkout')
    for name in ('configs', 'tools', 'kdeov_mm'):
        (folder / name).symlink_to(ROOT / name)
    ensure_world(folder / 'data' / 'shapes', sizes=dict(train=40, val=8, test=40), splits=('train', 'val', 'test'))
    trained = folder / 'work_dirs' / 'kdeov_yolov8n'
    trained.mkdir(parents=True)
    checkpoint = dict(state_dict=load_file(find_model('kdeov_yolov8n').weights), meta={}, optimizer={}, message_hub={})
    torch.save(checkpoint, trained / 'epoch_14.pth')
    (trained / 'last_checkpoint').write_text(str(trained / 'epoch_14.pth'))
    (folder / 'names.txt').write_text('red circle\nstriped blue star\n')
    return folder


@pytest.mark.parametrize('document', ['models', 'deploy', 'search'])
def test_commands(checkout, document):
    commands = [command.words for command in read_commands(ROOT / 'docs' / f'{document}.md')]
    commands = [words for words in commands if words[0] == 'python' and Path(words[1]).stem in TOOLS]
    assert commands
    for words in commands:
        for option, package in OPTIONAL.items():
            if option in words:
                pytest.importorskip(package)
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=checkout,
            env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f'{" ".join(words)}: {done.stdout[-1000:]}{done.stderr[-3000:]}'
        for option in ('--picture', '--json', '--out-dir'):
            if option in words:
                assert (checkout / words[words.index(option) + 1]).exists()
