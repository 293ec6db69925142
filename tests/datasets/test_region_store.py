"""Regions from a store: what the tool writes, and what reaches the loss of an augmented batch."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, save_checkpoint
from mmyolo.registry import DATASETS, MODELS, TRANSFORMS

from config_nodes import dicts
from kdeov_mm.datasets import TeacherStore, TeacherStoreWriter
from kdeov_mm.models import OpenCLIPTeacher
from tool_loading import run_tool

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture(scope='module')
def stored(demo_config, tmp_path_factory):
    """The tiny demo's config, and the store that the tool writes for it."""
    folder = tmp_path_factory.mktemp('regions')
    cfg = demo_config()
    cfg.model.bbox_head.proposal_object = 0.0  # the tiny teacher has learnt nothing
    cfg.dump(folder / 'config.py')
    init_default_scope('mmyolo')
    torch.manual_seed(0)
    save_checkpoint(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), str(folder / 'student.pth'))
    command = [
        sys.executable,
        'tools/dataset_converters/cache_regions.py',
        folder / 'config.py',
        folder / 'student.pth',
        folder / 'store',
        '--shard-size',
        '12',
        '--batch-size',
        '5',
        '--device',
        'cpu',
    ]
    run_tool('cache_regions', *command[2:])
    return cfg, folder / 'store', command


@pytest.fixture
def from_store(stored, demo_config):
    """The config that trains from the store."""
    cfg = demo_config(config=CONFIGS / 'kdeov_yolov8n_cached-regions.py')
    for node in dicts(cfg._cfg_dict):
        if node.get('type') in ('LoadRegions', 'PackRegions'):
            node.store = str(stored[1])
    cfg.train_dataloader.num_workers = 0
    return cfg


def test_rows_are_the_labelled_boxes_and_the_proposals_with_the_teachers_embeddings(stored):
    cfg, root, _ = stored
    store = TeacherStore(root)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    teacher = MODELS.build(MODELS.build(cfg.model.text_encoder).teacher)
    labels, boxes = store.column('label'), store.column('box')
    assert (labels == -1).any() and (labels >= 0).any()
    seen = 0
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        rows = (store.column('image') == info['img_id']).nonzero().flatten()
        given = info['instances']
        assert labels[rows].tolist()[: len(given)] == [instance['bbox_label'] for instance in given]
        assert (labels[rows][len(given) :] == -1).all()
        assert len(rows) - len(given) <= cfg.model.bbox_head.get('proposals', 2)
        torch.testing.assert_close(
            boxes[rows][: len(given)], torch.tensor([instance['bbox'] for instance in given]).reshape(-1, 4).float()
        )
        if i < 4:
            image = cv2.cvtColor(cv2.imread(info['img_path']), cv2.COLOR_BGR2RGB).transpose(2, 0, 1) / 255
            expected = teacher.encode_regions(torch.from_numpy(image).float()[None], [boxes[rows]])
            found = store.rows(rows)['embedding'].float()
            torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
        seen += len(rows)
    assert seen == len(store)


@pytest.mark.slow
def test_running_again_does_nothing_and_another_student_is_refused(stored, tmp_path):
    _, root, command = stored
    before = {path.name: path.stat().st_mtime_ns for path in root.glob('shard-*')}
    assert len(before) == 3
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in root.glob('shard-*')}
    fewer = ['--cfg-options', 'model.bbox_head.proposals=1']
    refused = subprocess.run([*command, *fewer], capture_output=True, text=True)
    assert refused.returncode != 0 and re.search(r'proposals\b.*\b2\b.*\b1\b', refused.stderr)


def test_labels_and_embeddings_stay_with_their_boxes_through_a_flip(stored, from_store):
    dataset = from_store.train_dataloader.dataset
    next(t for t in dataset.pipeline if t.type == 'mmdet.RandomFlip').prob = 1.0
    dataset, store = DATASETS.build(dataset), TeacherStore(stored[1])
    nameless = 0
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples']
        rows = (store.column('image') == sample.img_id).nonzero().flatten()
        instances = sample.gt_instances
        assert sample.flip and len(instances) == len(rows)
        boxes = store.column('box')[rows]
        flipped = torch.stack([64 - boxes[:, 2], boxes[:, 1], 64 - boxes[:, 0], boxes[:, 3]], 1)
        torch.testing.assert_close(instances.bboxes.tensor, flipped)
        assert torch.equal(instances.labels, store.column('label')[rows])
        torch.testing.assert_close(instances.teacher, F.normalize(store.rows(rows)['embedding'].float(), dim=-1))
        nameless += int((instances.labels < 0).sum())
    assert nameless > 0


LOSSES = ('loss_region', 'loss_region_similarity', 'found_objects')


def test_it_trains_and_the_teacher_embeds_no_region(from_store, monkeypatch):
    monkeypatch.delattr(OpenCLIPTeacher, 'encode_regions')
    from_store.train_cfg.max_epochs = 1
    runner = Runner.from_cfg(from_store)
    runner.train()
    logged = {name: runner.message_hub.get_scalar(f'train/{name}').data[0] for name in LOSSES}
    assert all(len(values) == 4 for values in logged.values())
    assert (logged['loss_region'] > 0).all() and (logged['loss_region_similarity'] > 0).all()
    assert logged['found_objects'].sum() > 0


def test_a_store_of_other_annotations_is_refused(stored, tmp_path):
    cfg, root, _ = stored
    rows = TeacherStore(root).rows(range(len(TeacherStore(root))))
    rows['label'] = torch.where(rows['label'] >= 0, rows['label'] + 1, rows['label'])
    writer = TeacherStoreWriter(tmp_path, {}, 1)
    writer.write(0, rows)
    writer.finish()
    load = TRANSFORMS.build(dict(type='LoadRegions', store=str(tmp_path)))
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    info = next(info for info in map(dataset.get_data_info, range(len(dataset))) if info['instances'])
    results = dict(img_id=info['img_id'], img_path=info['img_path'])
    results['gt_bboxes'] = HorizontalBoxes(np.array([i['bbox'] for i in info['instances']], np.float32))
    results['gt_bboxes_labels'] = np.array([i['bbox_label'] for i in info['instances']])
    results['gt_ignore_flags'] = np.zeros(len(info['instances']), bool)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        load(results)
