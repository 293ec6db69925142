"""Real COCO images, true CLIP text embeddings: letterboxing, training, testing, and a full-size teacher."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset
from mmyolo.registry import DATASETS, METRICS, MODELS
from safetensors.torch import save_file

from kdeov_mm.models import PrecomputedTextEncoder, TextBank
from kdeov_mm.models.clip import load_open_clip
from kdeov_mm.utils import load_config
from kdeov_mm.utils.config import leaves
from tool_loading import load_tool

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get('KDEOV_REAL_DATA', ROOT.parent / 'shared' / 'data'))
COCO, EMBEDDINGS = REAL / 'coco_mini', REAL / 'clip_text' / 'coco_clip_hand_craft.npy'
CONFIGS = {name: ROOT / 'configs' / f'kdeov_yolov8n_ov-coco{name}.py' for name in ('', '_text-only', '_overfit')}
needs_real_data = pytest.mark.skipif(
    not (COCO.is_dir() and EMBEDDINGS.is_file()), reason=f'no real COCO images and text embeddings in {REAL}'
)


def value_at(cfg, path):
    """The value of a dotted field."""
    for part in path.split('.'):
        cfg = cfg[int(part)] if isinstance(cfg, (list, tuple)) else cfg[part]
    return cfg


LVIS_CONFIGS = {
    name: ROOT / 'configs' / f'kdeov_yolov8n_{name}.py' for name in ('ov-lvis', 'ov-lvis_text-only', 'lvis-minival')
}
LVIS_TEXTS = tuple(
    f'model.text_encoder.{field}={REAL / "clip_text" / file}'
    for field, file in (('embeddings', 'lvis_clip_hand_craft.npy'), ('names', 'lvis_v1_categories.json'))
)
LOG_EACH_STEP = ('default_hooks.logger.interval=1', 'log_processor.window_size=1')


def run(monkeypatch, tool, *inputs, work_dir, options, data_root=COCO):
    """Run a tool in this process on the real images."""
    module = load_tool(tool)
    # MMEngine's visualizers are global by name: each work dir needs its own to log to.
    options = (
        '--data-root',
        data_root,
        '--work-dir',
        work_dir,
        '--cfg-options',
        f'visualizer.name={work_dir}',
        *options,
    )
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, (*inputs, *options))])
    module.main()


def logged(work_dir):
    """The records that a training logged, one for each step."""
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [record for record in map(json.loads, file.read_text().splitlines()) if 'loss' in record]


@pytest.fixture(scope='module')
def vit_file(tmp_path_factory):
    """A randomly initialised ViT-B/32, as a downloaded one would lie on disk."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('clip') / 'vit_b_32.safetensors'
    save_file(open_clip.create_model('ViT-B-32-quickgelu').state_dict(), path)
    yield path
    load_open_clip.cache_clear()


@pytest.mark.parametrize('name', CONFIGS)
def test_data_root_reaches_every_field(name):
    old, new = load_config(str(CONFIGS[name])), load_config(str(CONFIGS[name]), data_root='/somewhere/else')
    paths = [path for path in leaves(old._cfg_dict) if str(value_at(old, path)).startswith('data/coco')]
    assert {path.split('.')[0] for path in paths} > {'train_dataloader', 'test_dataloader', 'test_evaluator'}
    assert ('model.text_encoder.names' in paths) == bool(name)
    for path in paths:
        assert value_at(new, path) == value_at(old, path).replace('data/coco', '/somewhere/else'), path


@needs_real_data
def test_ready_embeddings_are_in_the_order_of_the_annotation_file():
    encoder = PrecomputedTextEncoder(str(EMBEDDINGS), str(COCO / 'annotations' / 'instances_val2017.json'))
    names = list(CocoDataset.METAINFO['classes'])
    assert list(encoder.rows) == names
    # In CLIP's space most names are nearest to one of their own kind; in another order they would not be.
    categories = json.loads((COCO / 'annotations' / 'instances_val2017.json').read_text())['categories']
    kinds = np.array([category['supercategory'] for category in categories])
    table = TextBank.build(names, encoder).embeddings

    def share_near_its_kind(rows):
        nearest = (table[rows] @ table[rows].T - 2 * torch.eye(len(rows))).argmax(1)
        return (kinds == kinds[nearest]).mean()

    order = np.arange(len(names))
    shifted = [share_near_its_kind(np.roll(order, shift)) for shift in order[1:]]
    assert share_near_its_kind(order) > 0.6 > max(shifted)


@needs_real_data
@pytest.mark.parametrize('wide', [True, False])
def test_boxes_come_back_to_the_original_image(wide, mmyolo_scope):
    """What the training pipeline does to boxes, the prediction undoes."""
    cfg = load_config(str(CONFIGS['_overfit']), data_root=str(COCO))
    dataset = DATASETS.build(cfg.test_dataloader[0].dataset)
    info = next(
        info
        for info in map(dataset.get_data_info, range(len(dataset)))
        if len(info['instances']) > 3 and (info['width'] > info['height']) == wide
    )
    to_input, to_test = Compose(cfg.train_dataloader.dataset.pipeline), dataset.pipeline
    letterboxed = to_input(dict(info))['data_samples'].gt_instances.bboxes.tensor
    sample = to_test(dict(info))['data_samples']
    left_top = sample.pad_param[[2, 0]]
    assert max(left_top) > 0 and sample.scale_factor[0] < 1

    head = MODELS.build(cfg.model).bbox_head
    head.test_cfg.update(nms=dict(iou_threshold=1.0))
    number = len(letterboxed)
    found = head.post_process(
        letterboxed,
        torch.linspace(0.9, 0.5, number),
        torch.zeros(number, dtype=torch.long),
        sample.metainfo,
        rescale=True,
    )
    original = torch.tensor([instance['bbox'] for instance in info['instances']])
    torch.testing.assert_close(found.bboxes, original, atol=0.05, rtol=0)


@needs_real_data
def test_one_test_reports_the_closed_protocol_and_names_asked_alone(tmp_path, monkeypatch, tiny_teacher, mmyolo_scope):
    """With random weights and a small CLIP."""
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'cache'))
    torch.manual_seed(0)
    cfg = load_config(str(CONFIGS['']))
    cfg.model.embed_dims = 128
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'random.pth')
    small = ('dataset.indices=4', 'batch_size=4', 'num_workers=0', 'dataset.pipeline.1.scale=(64,64)')
    run(
        monkeypatch,
        'test',
        CONFIGS[''],
        tmp_path / 'random.pth',
        work_dir=tmp_path,
        options=(
            'model.embed_dims=128',
            'model.text_encoder.model_name=kdeov-shapes',
            f'model.text_encoder.pretrained={tiny_teacher}',
            *(f'test_dataloader.{part}.{option}' for part in range(3) for option in small),
        ),
    )
    metrics = json.loads((tmp_path / 'report' / 'metrics.json').read_text())
    for role in ('', 'chance/'):
        for group in ('all', 'base', 'novel'):
            assert {f'{role}ov/{group}/AP50', f'{role}alone/{group}/AP50'} <= set(metrics)
        assert 0 < metrics[f'{role}alone/all/AUROC'] < 1 and 0 <= metrics[f'{role}general/supercategory/AP50'] < 0.5
    assert 0 < metrics['teacher/alone/all/AUROC'] < 1 and 'teacher/alone/all/AP50' not in metrics
    assert metrics['general/supercategory/false_alarms'] >= 0 and metrics['alone/all/duplicates'] >= 0


@needs_real_data
@pytest.mark.slow
def test_training_on_real_images_lowers_the_loss_and_testing_reports_groups(tmp_path, monkeypatch):
    embeddings = f'model.text_encoder.embeddings={EMBEDDINGS}'
    run(
        monkeypatch,
        'train',
        CONFIGS['_overfit'],
        work_dir=tmp_path,
        options=(
            embeddings,
            'train_dataloader.dataset.indices=8',
            'train_dataloader.batch_size=4',
            'train_cfg.max_epochs=10',
            'default_hooks.checkpoint.interval=10',
            *LOG_EACH_STEP,
        ),
    )
    records = logged(tmp_path)
    losses = torch.tensor([record['loss'] for record in records])
    assert len(losses) == 20 and losses.isfinite().all()
    assert losses[-2:].mean() < 0.9 * losses[:2].mean()
    assert not any('distill' in key or 'region' in key for key in records[0])

    run(
        monkeypatch,
        'test',
        CONFIGS['_overfit'],
        tmp_path,
        work_dir=tmp_path,
        options=(embeddings, 'test_dataloader.0.dataset.indices=8', 'test_dataloader.1.dataset.indices=8'),
    )
    metrics = json.loads((tmp_path / 'report' / 'metrics.json').read_text())
    for task in ('ov', 'ov_train'):
        for group in ('all', 'base', 'novel'):
            assert 0 <= metrics[f'{task}/{group}/AP'] <= metrics[f'{task}/{group}/AP50'] <= 1


@needs_real_data
@pytest.mark.slow
def test_a_full_size_teacher_from_a_local_file(vit_file, tmp_path, monkeypatch):
    """Through the fields of the config that otherwise name OpenAI's weights."""
    run(
        monkeypatch,
        'train',
        CONFIGS[''],
        work_dir=tmp_path,
        options=(
            f'model.text_encoder.pretrained={vit_file}',
            'custom_hooks.1.proposals_from_epoch=0',
            'model.bbox_head.proposal_score=0.',
            'train_dataloader.dataset.indices=4',
            'train_dataloader.batch_size=2',
            'train_dataloader.num_workers=0',
            'val_dataloader.dataset.indices=4',
            'val_dataloader.num_workers=0',
            'train_cfg.max_epochs=1',
            *LOG_EACH_STEP,
        ),
    )
    records = logged(tmp_path)
    assert len(records) == 2
    for record in records:
        assert abs(record['teacher_cosine']) < 1
        for name in ('loss_distill', 'loss_similarity', 'loss_region', 'loss_region_similarity', 'loss_text'):
            assert 0 < record[name] < 100, name
    weights = torch.load(tmp_path / 'epoch_1.pth', map_location='cpu', weights_only=True)['state_dict']
    # About 3 million weights of the student, none of the teacher's 151 million.
    assert sum(value.numel() for value in weights.values()) < 5e6


@pytest.mark.parametrize('name', LVIS_CONFIGS)
def test_lvis_configs_build(name, lvis_mini, mmyolo_scope):
    cfg = load_config(str(LVIS_CONFIGS[name]), data_root=str(lvis_mini))
    assert MODELS.build(cfg.model).bbox_head.test_cfg.max_per_img == 300
    train, val, test, *alone = (
        DATASETS.build(loader.dataset) for loader in (cfg.train_dataloader, cfg.val_dataloader, *cfg.test_dataloader)
    )
    assert set(train.metainfo['groups']) == {'base'} and len(train.metainfo['classes']) == 866
    assert len(test.metainfo['classes']) == 1203
    assert 'data_samples' in train[0] and 'data_samples' in test[0]
    for evaluator, protocols in ((cfg.val_evaluator, ('standard',)), (cfg.test_evaluator[0], ('standard', 'fixed'))):
        metric = METRICS.build(evaluator)
        assert metric.protocols == protocols and metric.ann_file == test.ann_file
    # published protocols are closed; names asked alone are not
    assert val.metainfo['closed'] and test.metainfo['closed'] and cfg.model.background is not None
    assert len(alone) == (2 if name == 'ov-lvis' else 1)
    for dataset, evaluator in zip(alone, cfg.test_evaluator[1:]):
        metric = METRICS.build(evaluator)
        metric.dataset_meta = dataset.metainfo
        assert 'closed' not in dataset.metainfo and metric.is_lvis
        assert len(metric.category_ids()) == len(dataset.metainfo['classes'])


def test_minival_from_config_to_report(lvis_mini, tmp_path, monkeypatch, mmyolo_scope):
    """With random weights: all 1,203 names, true text embeddings, real images."""
    torch.manual_seed(0)
    config = LVIS_CONFIGS['lvis-minival']
    torch.save(dict(state_dict=MODELS.build(load_config(str(config)).model).state_dict()), tmp_path / 'random.pth')
    run(
        monkeypatch,
        'test',
        config,
        tmp_path / 'random.pth',
        work_dir=tmp_path,
        data_root=lvis_mini,
        options=(
            *LVIS_TEXTS,
            *(
                f'test_dataloader.{part}.{field}'
                for part in range(2)
                for field in ('dataset.indices=3', 'batch_size=3', 'num_workers=0')
            ),
        ),
    )
    metrics = json.loads((tmp_path / 'report' / 'metrics.json').read_text())
    for protocol in ('standard', 'fixed'):
        for key in ('AP', 'AP50', 'AP75', 'APr', 'APf'):
            assert 0 <= metrics[f'ov_lvis/{protocol}/{key}'] < 0.1
    for group in ('all', 'base', 'novel'):
        assert 0 <= metrics[f'alone/{group}/AP50'] <= 1
    for key in ('AUROC', 'false_alarms'):  # all verified absences of these three images are of rare classes
        assert 0 <= metrics[f'alone/novel/{key}'] <= 1
    classes = (tmp_path / 'report' / 'ov_lvis_per_class.csv').read_text().splitlines()
    assert len(classes) == 1204
    assert 'LVIS' in (tmp_path / 'report' / 'report.md').read_text()


@pytest.mark.slow
def test_training_on_lvis(lvis_mini, tmp_path, monkeypatch):
    run(
        monkeypatch,
        'train',
        LVIS_CONFIGS['ov-lvis_text-only'],
        work_dir=tmp_path,
        data_root=lvis_mini,
        options=(
            *LVIS_TEXTS,
            'train_dataloader.batch_size=4',
            'train_dataloader.num_workers=0',
            'train_cfg.max_epochs=1',
            'train_cfg.val_interval=1',
            'val_dataloader.num_workers=0',
            'val_dataloader.dataset.indices=2',
            *LOG_EACH_STEP,
        ),
    )
    records = logged(tmp_path)
    assert len(records) == 3 and all(0 < record['loss_text'] < 100 for record in records)
