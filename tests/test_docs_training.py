"""The commands of the documents that train and test on the shapes dataset run, with one epoch of few images."""

import shutil
from pathlib import Path

import pytest
from docs_commands import ROOT, make_checkout, read_commands, run_command

from kdeov_mm.datasets.shapes import SPLITS
from kdeov_mm.utils import load_config
from kdeov_mm.utils.config import first_test_dataloader

pytestmark = pytest.mark.slow
TOOLS = ('train', 'test', 'cache_teacher')
FEW = ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=8', *(f'shapes_world.sizes.{name}=16' for name in SPLITS)]
DOCUMENTS = ('ablations', 'benchmark_detector', 'comparison', 'configs', 'models', 'pretrain', 'report')
DOCUMENTS += ('teacher_cache', 'training', 'zero_shot')


def commands_of(document):
    """Those on the shapes dataset, which needs no download."""
    for command in read_commands(ROOT / 'docs' / f'{document}.md'):
        words = command.words
        if words[0] == 'python' and Path(words[1]).stem in TOOLS and (ROOT / words[2]).is_file():
            cfg = load_config(str(ROOT / words[2]))
            if 'shapes_world' in cfg and first_test_dataloader(cfg).dataset.type == 'OVCocoDataset':
                yield words


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp('checkout'))


@pytest.mark.parametrize('document', DOCUMENTS)
def test_commands(checkout, document):
    commands = list(commands_of(document))
    assert commands
    for words in commands:
        run_command([*words, *([] if '--cfg-options' in words else ['--cfg-options']), *FEW], checkout)
        for first in checkout.glob('work_dirs/*/epoch_1.pth'):  # documents name the last epoch of a whole training
            shutil.copy(first, first.with_name('epoch_14.pth'))
