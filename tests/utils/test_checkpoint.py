"""Which checkpoint a training goes on from."""

import os
import re
from pathlib import Path

import pytest
import torch

from kdeov_mm.utils import find_resume


@pytest.fixture
def work_dir(tmp_path):
    """Epochs of 100 steps: a checkpoint at the end of epochs 1 to 3 and at steps 120 and 240."""
    for name, epoch, step in [
        ('epoch_1', 1, 100),
        ('iter_120', 1, 120),
        ('epoch_2', 2, 200),
        ('iter_240', 2, 240),
        ('epoch_3', 3, 300),
    ]:
        torch.save(
            dict(
                state_dict=dict(weight=torch.zeros(99)), optimizer={}, message_hub={}, meta=dict(epoch=epoch, iter=step)
            ),
            tmp_path / f'{name}.pth',
        )
    return tmp_path


def test_the_newest_of_both_kinds(work_dir):
    assert Path(find_resume(work_dir)).name == 'epoch_3.pth'
    (work_dir / 'epoch_3.pth').unlink()
    assert Path(find_resume(work_dir)).name == 'iter_240.pth'


@pytest.mark.filterwarnings('ignore:not resumed from')
def test_the_newest_complete_one(work_dir):
    for name, newest in [('epoch_3', 'iter_240'), ('iter_240', 'epoch_2'), ('epoch_2', 'iter_120')]:
        os.truncate(work_dir / f'{name}.pth', 1000)
        assert Path(find_resume(work_dir)).name == f'{newest}.pth'


def test_at_the_end_of_an_epoch_its_own_rather_than_that_of_its_last_step(work_dir):
    """A loop that resumes at epochs only would train it again."""
    torch.save(dict(torch.load(work_dir / 'epoch_3.pth'), meta=dict(epoch=2, iter=300)), work_dir / 'iter_300.pth')
    assert Path(find_resume(work_dir)).name == 'epoch_3.pth'


def test_the_one_that_last_checkpoint_names(work_dir):
    (work_dir / 'last_checkpoint').write_text('/moved/since/iter_120.pth')
    assert Path(find_resume(work_dir)).name == 'iter_120.pth'


@pytest.mark.parametrize('content', ['', '/moved/since/iter_1'])
def test_a_half_written_last_checkpoint_is_no_obstacle(work_dir, content):
    (work_dir / 'last_checkpoint').write_text(content)
    with pytest.warns(UserWarning, match=re.escape(str(work_dir))):
        assert Path(find_resume(work_dir)).name == 'epoch_3.pth'


def test_none(tmp_path):
    (tmp_path / 'best_epoch_1.pth').touch()
    assert find_resume(tmp_path) is None
