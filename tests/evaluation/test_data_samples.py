"""The three metrics together, from configs, fed data samples as the model returns them, on real COCO."""

import json

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from PIL import Image


def test_metrics_and_pictures_from_data_samples(fake_text, coco_mini, tmp_path):
    ann_file = coco_mini / 'annotations/instances_val2017.json'
    data = json.loads(ann_file.read_text())
    classes = [category['name'] for category in data['categories']]
    label_of = {category['id']: label for label, category in enumerate(data['categories'])}
    samples = []
    for image in data['images']:
        anns = [ann for ann in data['annotations'] if ann['image_id'] == image['id'] and not ann['iscrowd']]
        boxes = torch.tensor([ann['bbox'] for ann in anns]).reshape(-1, 4)
        labels = torch.tensor([label_of[ann['category_id']] for ann in anns], dtype=torch.long)
        first = classes[labels[0]] if len(anns) else 'nothing'
        sample = DetDataSample(
            metainfo=dict(
                img_id=image['id'],
                img_path=str(coco_mini / 'val2017' / image['file_name']),
                captions=[first],
                gt_label=int(labels[0]) if len(anns) else 0,
            )
        )
        sample.pred_instances = InstanceData(
            bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
            labels=labels,
            scores=torch.linspace(1, 0.5, len(anns)),
        )
        sample.image_embedding = sample.teacher_embedding = fake_text(first)
        samples.append(sample)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        evaluator = Evaluator(
            [
                dict(type='ZeroShotMetric', text_encoder=dict(type='Fake')),
                dict(type='RetrievalMetric', text_encoder=dict(type='Fake')),
                dict(type='OVCocoMetric', ann_file=str(ann_file)),
            ]
        )
    evaluator.dataset_meta = dict(classes=classes, groups=['base', 'novel'] * 40)
    evaluator.process(samples)
    metrics = evaluator.evaluate(len(samples))
    assert metrics['ov/all/AP50'] == pytest.approx(1) and metrics['ov/novel/AP'] == pytest.approx(1)
    assert metrics['chance/ov/all/AP50'] < 0.1
    assert metrics['zero_shot/all/top1'] == metrics['teacher/zero_shot/all/top1'] > 0.95
    assert metrics['retrieval/t2i/R@1'] < metrics['retrieval/t2i/R@10'], 'images of one class tie'
    names = []
    for metric in evaluator.metrics:
        for path in metric.draw(tmp_path):
            names.append(path.name)
            if path.suffix == '.png':
                with Image.open(path) as picture:
                    assert min(picture.size) > 200
    assert names == ['retrieval_grid.png', 'retrieval_captions.png', 'ov_detections.png', 'ov_per_class.csv'], (
        '80 classes are too many to confuse'
    )
