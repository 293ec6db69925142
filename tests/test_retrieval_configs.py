"""The configs of retrieval, on real images in each layout."""

from pathlib import Path

import pytest
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmyolo.registry import DATASETS

from kdeov_mm.datasets import prepare_data
from kdeov_mm.utils import load_config

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'retrieval'
NAMES = ('coco', 'flickr30k', 'flickr8k')


@pytest.mark.parametrize('name', NAMES)
def test_reads_the_test_split_with_all_captions(name, caption_roots, pairs):
    cfg = load_config(str(CONFIGS / f'kdeov_yolov8n_{name}.py'), data_root=str(caption_roots / name))
    prepare_data(cfg, 'test')
    init_default_scope('mmyolo')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    read = {Path(info['img_path']).name: info['captions'] for info in map(dataset.get_data_info, range(len(dataset)))}
    assert list(read) == list(pairs)[:9]
    assert all(set(read[file]) <= set(pairs[file]) and len(read[file]) >= 4 for file in read)


@pytest.fixture
def coco_config(caption_roots, tiny_teacher, tmp_path):
    """COCO's config with the tiny teacher, on small images."""
    cfg = load_config(
        str(CONFIGS / 'kdeov_yolov8n_coco.py'), data_root=str(caption_roots / 'coco'), work_dir=str(tmp_path)
    )
    cfg.model.text_encoder.update(model_name='kdeov-shapes', pretrained=tiny_teacher)
    cfg.model.embed_dims = 128
    for transform in cfg.test_dataloader.dataset.pipeline[1:3]:
        transform.scale = (128, 128)
    cfg.test_evaluator[1].fold_size = 3
    cfg.test_dataloader.num_workers = 0
    cfg.test_dataloader.pop('persistent_workers', None)
    cfg.experiment_name = tmp_path.name
    return cfg


def test_coco_gives_5k_and_1k_of_student_and_teacher(coco_config, tmp_path):
    metrics = Runner.from_cfg(coco_config).test()
    keys = {
        f'{direction}/{name}'
        for direction in ('t2i', 'i2t')
        for name in ('R@1', 'R@5', 'R@10', 'median_rank', 'mAP@10')
    }
    assert set(metrics) == {
        f'{role}{task}/{key}'
        for role in ('', 'teacher/', 'chance/')
        for task in ('retrieval', 'retrieval_1k')
        for key in keys
    }
    assert metrics['chance/retrieval/t2i/R@1'] == pytest.approx(1 / 9)
    assert metrics['chance/retrieval_1k/t2i/R@1'] == pytest.approx(1 / 3)
    report = (tmp_path / 'report' / 'report.md').read_text()
    assert 'Retrieval, mean of folds of 1,000 images' in report and 'retrieval_grid.png' in report
    assert {path.name for path in (tmp_path / 'report').glob('*.png')} >= {
        'retrieval_grid.png',
        'retrieval_captions.png',
        'retrieval_1k_grid.png',
        'groups.png',
    }
