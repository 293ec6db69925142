"""Regions from a store: what the tool writes, and what reaches the loss of an augmented batch."""

import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, save_checkpoint
from mmyolo.registry import DATASETS, MODELS, TRANSFORMS

from kdeov_mm.datasets import TeacherStore, TeacherStoreWriter
from tool_loading import run_tool

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


def with_regions(cfg, store):
    """The training data set's config, with regions from the store."""
    dataset = cfg.train_dataloader.dataset.copy()
    *transforms, pack = dataset.pipeline
    dataset.pipeline = [
        *transforms[:2],
        dict(type='LoadRegions', store=str(store)),
        *transforms[2:],
        dict(pack, type='PackRegions', store=str(store)),
    ]
    return dataset


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
    refused = subprocess.run([*command, '--proposals', '1'], capture_output=True, text=True)
    assert refused.returncode != 0 and re.search(r'proposals\b.*\b2\b.*\b1\b', refused.stderr)


def test_labels_and_embeddings_stay_with_their_boxes_through_a_flip(stored):
    cfg, root, _ = stored
    cfg = cfg.copy()
    next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'mmdet.RandomFlip').prob = 1.0
    dataset, store = DATASETS.build(with_regions(cfg, root)), TeacherStore(root)
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


def test_training_from_the_store_needs_no_teacher(stored):
    cfg, root, _ = stored
    cfg = cfg.copy()
    cfg.train_dataloader.dataset = with_regions(cfg, root)
    cfg.train_dataloader.update(num_workers=0, batch_size=32)  # all images
    cfg.model.update(loss_image=None)
    model = MODELS.build(cfg.model)
    vocabulary = torch.randn(len(DATASETS.build(cfg.train_dataloader.dataset).metainfo['classes']), 128)
    model.class_embeddings = F.normalize(vocabulary, dim=-1)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    assert losses['loss_region'] > 0 and losses['loss_region_similarity'] > 0 and losses['found_objects'] > 0


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
