"""Stage 1: what its log says, what stage 2 takes from it, what its test reports."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'kdeov_yolov8n_pretrain.py'
STAGE_1 = ('backbone.', 'fusion.', 'neck.', 'projector.')

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture(scope='module')
def trained(demo_config):
    """The runner of a finished stage 1: two epochs of four steps."""
    cfg = demo_config(config=CONFIG)
    cfg.log_level = 'INFO'
    cfg.visualizer.name = cfg.experiment_name  # else it writes to an earlier runner's folder
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def checkpoint(trained):
    return Path(trained.work_dir, 'epoch_2.pth')


def test_the_log_says_what_one_wants_to_see(trained):
    log = [json.loads(line) for line in next(Path(trained.log_dir).glob('vis_data/scalars.json')).open()]
    steps = [row for row in log if 'loss' in row]
    probes = [row for row in log if 'zero_shot/all/top1' in row]
    assert len(steps) == 8 and len(probes) == 2
    for row in steps:
        assert {'loss_distill', 'loss_similarity', 'loss_align', 'images_per_second', 'time', 'data_time'} <= set(row)
        assert -1 <= row['teacher_cosine_p5'] < row['teacher_cosine'] <= 1
    assert steps[0]['align_temperature'] == pytest.approx(0.07) != steps[-1]['align_temperature']
    text = next(Path(trained.log_dir).glob('*.log')).read_text()
    assert len(re.findall(r'Epoch\(train\) .* eta: \d', text)) == 8


def test_no_step_is_guided_by_text(trained):
    """As ``encode_image`` never is. FiLM's layer starts at zero and stays there without a gradient."""
    assert not trained.model.fusion.modulation.weight.count_nonzero()
    assert len(trained.model.texts) > 0  # the vocabulary was there


def test_stage_2_starts_from_it(demo_config, checkpoint):
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    taken = {name for name in weights if name.startswith(STAGE_1)}
    assert {name for name in weights if name not in taken} == {'loss_image.losses.align.logit_scale'}
    cfg = demo_config()
    cfg.load_from = str(checkpoint)
    second = Runner.from_cfg(cfg)
    assert taken == {name for name in second.model.state_dict() if name.startswith(STAGE_1)}
    before = {name: value.clone() for name, value in second.model.state_dict().items()}
    second.load_or_resume()
    loaded = second.model.state_dict()
    assert all(torch.equal(loaded[name], weights[name]) for name in taken)
    assert sum(not torch.equal(before[name], loaded[name]) for name in taken) > len(taken) / 2


def test_testing_gives_classification_and_retrieval(demo_config, checkpoint):
    cfg = demo_config(config=CONFIG)
    cfg.load_from = str(checkpoint)
    metrics = Runner.from_cfg(cfg).test()
    assert {'zero_shot/all/top1', 'teacher/zero_shot/all/top1'} <= set(metrics)
    assert {'retrieval/t2i/R@1', 'retrieval/i2t/R@1'} <= set(metrics)
    assert not any(name.startswith('ov/') for name in metrics)
