"""Each example of docs/extending: as a module that its config imports, in one tiny training and test."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmyolo.registry import DATASETS, MODELS
from PIL import Image

from kdeov_mm.utils import load_config

DOCS = Path(__file__).resolve().parents[1] / 'docs' / 'extending'
MODULES = dict(fusion='my_fusion', loss='my_loss', head='my_head', dataset='my_dataset', evaluator='my_metric')


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Write the example's module and its config, return the config's text."""

    def example(name):
        code, config = re.findall(r'```python\n(.*?)```', (DOCS / f'{name}.md').read_text(), re.DOTALL)
        assert len(code.splitlines()) < 40
        (tmp_path / f'{MODULES[name]}.py').write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.chdir(tmp_path)
        return config

    yield example
    for module in MODULES.values():
        sys.modules.pop(module, None)


@pytest.fixture
def run(example, demo_config, tmp_path):
    """Train and test the tiny demo with an example; return its losses, metrics and model."""

    def run(name):
        base = demo_config(epochs=1)
        base.test_dataloader = base.test_dataloader[:2]
        base.test_evaluator = [base.test_evaluator[0][:1], base.test_evaluator[1]]  # the quickest of each
        base.dump(str(tmp_path / 'base.py'))
        (tmp_path / 'config.py').write_text(f"_base_ = './base.py'\n{example(name)}")
        cfg = load_config('config.py', work_dir=str(tmp_path / 'run'))
        cfg.experiment_name = cfg.visualizer.name = tmp_path.name  # runners of one process share what has one name
        runner = Runner.from_cfg(cfg)
        runner.train()
        metrics = runner.test()
        lines = [json.loads(line) for line in next(tmp_path.glob('run/*/vis_data/scalars.json')).open()]
        return next(line for line in lines if 'loss' in line), metrics, runner.model

    return run


def test_every_guide_is_tested():
    assert {path.stem for path in DOCS.glob('*.md')} == set(MODULES)


@pytest.mark.usefixtures('mmyolo_scope')
def test_fusion(run):
    _, _, trained = run('fusion')
    assert type(trained.fusion).__name__ == 'GateFusion' and any(gate.weight.any() for gate in trained.fusion.gates)
    fusion = MODELS.build(dict(type='GateFusion', in_channels=[8, 16], embed_dims=4))
    feats, texts = [torch.rand(2, 8, 4, 4), torch.rand(2, 16, 2, 2)], torch.rand(2, 3, 4)
    assert all(torch.equal(a, b) for a, b in zip(fusion(feats, texts), feats))
    torch.nn.init.normal_(fusion.gates[0].weight)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    guided = fusion(feats, texts, mask)[0]
    other = texts.flip(1).clone()
    other[:, 0] = torch.nan  # what is masked
    torch.testing.assert_close(fusion(feats, other, mask.flip(1))[0], guided)
    assert not torch.allclose(guided[0], feats[0][0]) and torch.equal(guided[1], feats[0][1])


@pytest.mark.usefixtures('mmyolo_scope')
def test_loss(run):
    log, _, _ = run('loss')
    assert log['loss_margin'] > 0
    s, t = torch.eye(3), torch.eye(3)[[0, 2, 1]]
    loss = MODELS.build(dict(type='MarginLoss', margin=0.2))
    expected = sum(max(0, 0.2 - float(s[i] @ t[i]) + float(s[i] @ t[j])) for i in range(3) for j in range(3) if i != j)
    assert loss(s, t).item() == pytest.approx(expected / 6) and loss(s, s).item() == 0


@pytest.mark.usefixtures('mmyolo_scope')
def test_head(run):
    _, metrics, model = run('head')
    assert type(model.bbox_head).__name__ == 'OneNameHead' and 'ov/novel/AP50' in metrics
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0], [20.0, 20.0, 29.0, 29.0]])
    meta = dict(img_shape=(64, 64), ori_shape=(64, 64))
    found = model.bbox_head.post_process(boxes, torch.tensor([0.5, 0.9, 0.3]), torch.tensor([0, 1, 0]), meta, False)
    assert found.labels.tolist() == [1, 0]


@pytest.mark.usefixtures('mmyolo_scope')
def test_dataset(example, tmp_path):
    config = example('dataset')
    (tmp_path / 'data/mine').mkdir(parents=True)
    for name in 'ab':
        Image.new('RGB', (300, 250)).save(tmp_path / f'data/mine/{name}.jpg')
    (tmp_path / 'data/mine/a.txt').write_text('one\ntwo')
    cfg = Config.fromstring(config, '.py').train_dataloader.dataset
    cfg.pop('_delete_')
    dataset = DATASETS.build(cfg)
    assert [info['captions'] for info in map(dataset.get_data_info, range(2))] == [['one', 'two'], []]
    assert dataset[0]['inputs'].shape == (3, 224, 224) and dataset[0]['data_samples'].captions == ['one', 'two']
    with pytest.raises(FileNotFoundError, match=r'\.jpg.*missing'):
        DATASETS.build(dict(cfg, data_prefix=dict(img='missing')))


@pytest.mark.usefixtures('mmyolo_scope')
def test_evaluator(run):
    _, metrics, _ = run('evaluator')
    assert -1 <= metrics['teacher_cosine/p5'] <= metrics['teacher_cosine/mean'] <= 1
    assert 'zero_shot/all/top1' in metrics
