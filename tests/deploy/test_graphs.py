"""Folded networks are the networks that they come from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdeov_mm.deploy.graphs import Detector, ImageEncoder, OpenDetector
from kdeov_mm.deploy.nms import batched_nms


@torch.no_grad()
def check_detections(found, expected, scores=1e-4, pixels=0.01):
    """All of the expected detections, in order, and nothing after them; near ties may change places."""
    for image, reference in enumerate(expected):
        number = len(reference['scores'])
        assert number
        boxes, score, labels = (value[image].numpy() for value in found)
        assert (score[number:] == 0).all() and (labels[number:] == -1).all()
        assert abs(score[:number] - reference['scores']).max() <= scores
        same = (abs(boxes[:number] - reference['boxes']).max(1) <= pixels) & (labels[:number] == reference['labels'])
        for row in (~same).nonzero()[0]:
            near = abs(reference['scores'] - score[row]) <= scores
            assert (
                near & (abs(reference['boxes'] - boxes[row]).max(1) <= pixels) & (reference['labels'] == labels[row])
            ).any()


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'fusion': None},
        {'fusion.type': 'CrossAttentionFusion'},
        {'test_cfg.nms.class_agnostic': True},
        {'lexicon': None, 'background': None},
        {'lexicon': None},
        {'neck.type': 'YOLOv5PAFPN'},
        {
            'test_cfg.max_per_img': 7,
            'test_cfg.classes_per_box': 50,
            'test_cfg.nms_pre': 10000,
            'test_cfg.objectness_power': 0.3,
        },
    ],
)
def test_folded_detectors_are_the_model(make_student, predict, changes):
    model = make_student(**changes)
    images = torch.rand(2, 3, 96, 64)
    expected = predict(model, images)
    with torch.no_grad():
        check_detections(Detector(model)(images), expected)
        inputs = [images, model.texts]
        if model.background is not None:
            inputs += [torch.zeros(1, 128), F.pad(model.competitors.roles, (0, 1))]
        check_detections(OpenDetector(model)(*inputs), expected)


def test_the_demo_on_real_images(demo_student, real_images, predict):
    images = real_images[:20]
    with torch.no_grad():
        found = Detector(demo_student)(images)
    check_detections(found, predict(demo_student, images))


def test_the_folded_detector_has_no_text_and_no_norm(student):
    folded = Detector(student)
    kinds = {type(module) for module in folded.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.BatchNorm1d, type(student.fusion)}
    names = {name for name, _ in [*folded.named_parameters(), *folded.named_buffers()]}
    assert not any(name.startswith(('fusion', 'projector', 'to_logits')) for name in names)
    with torch.no_grad():  # the model that was folded is untouched
        assert student.fusion is not None and any(isinstance(m, nn.BatchNorm2d) for m in student.modules())


@torch.no_grad()
def test_the_encoder_is_the_models(student, real_images):
    found, expected = ImageEncoder(student)(real_images[:8]), student.encode_image(real_images[:8])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_cannot_be_folded_is_named(make_student):
    model = make_student()
    model.class_embeddings = model.class_embeddings[:0]
    with pytest.raises(ValueError, match='vocabulary'):
        Detector(model)
    closed = dict(lexicon=None, background=None)
    model = make_student(**{'fusion.type': 'CrossAttentionFusion'}, **closed)
    with pytest.raises(TypeError, match='CrossAttentionFusion'):
        Detector(model)
    with pytest.raises(ValueError, match='bbox_head'):
        OpenDetector(make_student(bbox_head=None))


def brute_force(boxes, scores, labels, threshold, most):
    """Greedy suppression, one detection after the other."""

    def iou(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(width, 0) * max(height, 0)
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    rows = sorted(
        (
            (float(s), int(label), m)
            for m, (ss, ls) in enumerate(zip(scores, labels))
            for s, label in zip(ss, ls)
            if s > 0
        ),
        reverse=True,
    )
    kept = []
    for score, label, m in rows:
        if all(label != other or iou(boxes[m], boxes[n]) <= threshold for _, other, n in kept):
            kept.append((score, label, m))
    return kept[:most]


def test_suppression_is_greedy_within_each_name_and_image():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3, 30, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 5 + torch.rand(3, 30, 2, generator=generator) * 20], dim=-1)
    scores = torch.rand(3, 30, 2, generator=generator).where(torch.rand(3, 30, 2, generator=generator) > 0.3, 0.0)
    scores[2] = 0
    labels = torch.stack([torch.randperm(4, generator=generator)[:2] for _ in range(90)]).reshape(3, 30, 2)
    found, names, index = batched_nms(boxes, scores, labels, 4, 0.4, 15)
    for image in range(3):
        expected = brute_force(boxes[image].tolist(), scores[image], labels[image], 0.4, 15)
        number = len(expected)
        assert (image == 2) == (number == 0)
        assert list(zip(found[image].tolist(), names[image].tolist(), index[image].tolist()))[:number] == expected
        assert found[image, number:].tolist() == [0] * (15 - number) and (names[image, number:] == -1).all()
