"""Stage 1's configs for photographs train and are tested on real ones, with a small random teacher."""

import json
from pathlib import Path

import pytest
from config_nodes import dicts
from mmengine.runner import Runner

from kdeov_mm.utils import load_config
from tool_loading import run_tool

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs' / 'pretrain'

pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture
def small(coco_mini, tiny_teacher, tmp_path):
    """A config of the folder for small images, with the demo's architecture as the teacher, for one epoch."""

    def make(name):
        cfg = load_config(str(CONFIGS / f'{name}.py'), data_root=str(coco_mini), work_dir=str(tmp_path / name))
        for node in dicts(cfg._cfg_dict):
            if node.get('model_name'):
                node.update(model_name='kdeov-shapes', pretrained=tiny_teacher)
            if node.get('type') == 'mmdet.Resize':
                node.scale = (64, 64)
        cfg.model.embed_dims = 128
        cfg.train_dataloader.update(batch_size=16, num_workers=1)
        cfg.val_dataloader.num_workers = cfg.test_dataloader.num_workers = 0
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler[0].update(by_epoch=False, begin=0, end=2, convert_to_iter_based=False)
        cfg.param_scheduler[1].update(begin=0, end=1)
        cfg.default_hooks.logger.interval = 1
        cfg.log_level, cfg.experiment_name, cfg.visualizer.name = 'WARNING', name, str(tmp_path)
        return cfg

    return make


@pytest.mark.parametrize(
    'name', ['kdeov_yolov8n_coco-captions', 'kdeov_yolov8n_coco-captions_cached', 'kdeov_yolov8n_shards']
)
def test_it_trains_and_is_tested(name, small, write_shards, tmp_path):
    cfg = small(name)
    if 'cached' in name:
        small('kdeov_yolov8n_coco-captions').dump(str(tmp_path / 'online.py'))
        run_tool('cache_teacher', tmp_path / 'online.py', tmp_path / 'store', '--views', 2)
        cfg.train_dataloader.dataset.store = str(tmp_path / 'store')
    if 'shards' in name:
        write_shards(tmp_path / 'shards', [40, 40])
        cfg.train_dataloader.dataset.update(shards=str(tmp_path / 'shards/{00000..00001}.tar'), batch_size=16)
    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.test()
    log = [json.loads(line) for line in next(Path(runner.log_dir).glob('vis_data/scalars.json')).open()]
    steps = [row for row in log if 'loss' in row]
    assert len(steps) == 5 and {'loss_distill', 'loss_align', 'teacher_cosine'} <= set(steps[0])
    assert steps[-1]['teacher_cosine'] > steps[0]['teacher_cosine']
    assert [row['retrieval/t2i/R@1'] for row in log if 'retrieval/t2i/R@1' in row]
    assert {'retrieval/t2i/R@1', 'teacher/retrieval/t2i/R@1'} <= set(metrics)
