"""Vanilla YOLOv8n: MMYOLO's own model, trained and tested as the demo is."""

from pathlib import Path

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmyolo.registry import MODELS

from kdeov_mm.datasets.splits import VOCABULARIES
from kdeov_mm.utils import load_config

BASELINES = Path(__file__).resolve().parents[3] / 'configs' / 'baselines'


@pytest.mark.parametrize('name, num_classes', [('shapes', 288), ('ov-coco', 48)])
def test_it_is_mmyolos_own(name, num_classes):
    init_default_scope('mmyolo')
    cfg = load_config(str(BASELINES / f'yolov8n_{name}.py'))
    theirs = get_config('mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py').model
    theirs.bbox_head.head_module.num_classes = theirs.train_cfg.assigner.num_classes = num_classes
    torch.manual_seed(0)
    ours = MODELS.build(cfg.model)
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    reference = MODELS.build(theirs)
    assert shapes == {key: value.shape for key, value in reference.state_dict().items()}
    ours.load_state_dict(reference.state_dict())
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for mine, expected in zip(ours.eval()._forward(images)[0], reference.eval()._forward(images)[0]):
            assert torch.equal(mine, expected) and mine.shape[1] == num_classes
    assert dict(cfg.model.test_cfg) == dict(theirs.test_cfg) and ours.bbox_head.assigner.use_ciou
    assert len(VOCABULARIES['ov_coco']['base']) == 48


def test_trains_and_is_tested_on_base_classes_alone(demo_config):
    cfg = demo_config(epochs=1, config=BASELINES / 'yolov8n_shapes.py')
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert len(runner.train_dataloader.dataset.metainfo['classes']) == 288
    metrics = runner.test()
    assert {name.split('/')[1] for name in metrics if name.startswith('ov/')} == {'all', 'base'}
    assert metrics['ov/all/AP50'] == metrics['ov/base/AP50']
