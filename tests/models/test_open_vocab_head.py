"""The head: fast scoring against an exhaustive loop, and what its losses see."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.ops import box_iou, clip_boxes_to_image, nms

from kdeov_mm.models import TextBank
from kdeov_mm.models.post_processing import nms_by_class
from kdeov_mm.models.targets import RegionTargets, StoredTargets


def ready(build_student, texts, **changes):
    model = build_student(**changes).eval()
    model.set_vocabulary(TextBank([str(i) for i in range(len(texts))], texts))
    return model


def exhaustive(head, x, texts, size):
    """Every prior and every class, one at a time, in plain Python."""
    objectness, distances, features, _ = head.head_module(x)
    found = []
    for o, d, f, stride in zip(objectness, distances, features, head.featmap_strides):
        for row in range(o.shape[2]):
            for column in range(o.shape[3]):
                centre = torch.tensor([column + 0.5, row + 0.5])
                left_top, right_bottom = d[0, :2, row, column], d[0, 2:, row, column]
                box = torch.cat([(centre - left_top) * stride, (centre + right_bottom) * stride])
                embedding = F.normalize(head.head_module.embed(f[0, :, row, column]), dim=0)
                probability = (head.scale * texts @ embedding).softmax(0)
                score = (o[0, 0, row, column].sigmoid() * probability).sqrt()
                box = clip_boxes_to_image(box[None], (size, size))[0]
                found += [(float(score[k]), k, box) for k in range(len(texts))]
    kept = []
    for k in range(len(texts)):
        mine = [item for item in found if item[1] == k and item[0] > head.test_cfg.score_thr]
        if mine:
            boxes, scores = torch.stack([m[2] for m in mine]), torch.tensor([m[0] for m in mine])
            kept += [mine[int(i)] for i in nms(boxes, scores, head.test_cfg.nms.iou_threshold)]
    return sorted(kept, key=lambda item: -item[0])[: head.test_cfg.max_per_img]


def test_prediction_equals_an_exhaustive_loop(build_student, make_samples, texts):
    model = ready(build_student, texts, **{'test_cfg.classes_per_box': 5, 'test_cfg.nms_pre': 1000})
    torch.manual_seed(0)
    torch.nn.init.normal_(model.bbox_head.head_module.embed.weight)
    for objectness, boxes in zip(model.bbox_head.head_module.obj_preds, model.bbox_head.head_module.reg_preds):
        torch.nn.init.normal_(objectness.weight)
        torch.nn.init.normal_(boxes[-1].bias, std=5.0)  # boxes of all sizes
    x = [3 * torch.randn(1, channels, size, size) for channels, size in ((64, 16), (128, 8), (256, 4))]
    with torch.no_grad():
        expected = exhaustive(model.bbox_head, x, texts, 128)
        found = model.bbox_head.predict(x, make_samples(1, 128), texts)[0]
    assert len(found) == len(expected) > 20
    torch.testing.assert_close(found.scores, torch.tensor([e[0] for e in expected]), atol=1e-5, rtol=0)
    assert found.labels.tolist() == [e[1] for e in expected]
    torch.testing.assert_close(found.bboxes, torch.stack([e[2] for e in expected]), atol=1e-3, rtol=0)


class Shapes(TorchDispatchMode):
    """Records the shapes of all tensors that are made."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.found += [tuple(leaf.shape) for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        return result


@pytest.mark.parametrize('nms_pre, dense', [(50, False), (1000, True)])
def test_only_an_exhaustive_search_compares_every_prior_with_every_name(build_student, make_samples, nms_pre, dense):
    names, priors = 1203, 16**2 + 8**2 + 4**2
    texts = F.normalize(torch.randn(names, 128), dim=-1)
    model = ready(build_student, texts, **{'test_cfg.nms_pre': nms_pre, 'lexicon': None})
    with torch.no_grad(), Shapes() as shapes:
        model.predict(torch.rand(1, 3, 128, 128), make_samples(1, 128))
    compared = [math.prod(shape) for shape in shapes.found if names in shape]
    assert compared
    assert (max(compared) >= priors * names) == dense


@pytest.mark.parametrize(
    'boxes, names, most', [(1500, 3, 100), (1500, 10000, 100), (700, 1, 100), (0, 5, 10), (8, 5, 10)]
)
def test_suppression_of_the_best_few_equals_suppression_of_all(boxes, names, most):
    torch.manual_seed(0)
    centre, size = 60 + torch.rand(boxes, 2) * 600, torch.rand(boxes, 2) * 60 + 40
    centre[boxes // 2 :] = centre[: boxes - boxes // 2] + torch.randn(boxes - boxes // 2, 2) * 5  # many near-duplicates
    xyxy, scores = torch.cat([centre - size / 2, centre + size / 2], 1), torch.rand(boxes).round(decimals=2)  # ties
    labels = torch.randint(names, (boxes,))
    labels[boxes // 2 :] = labels[: boxes - boxes // 2]
    expected = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        rivals = [j for j in expected if labels[j] == labels[i]]
        if not rivals or box_iou(xyxy[i : i + 1], xyxy[rivals]).max() <= 0.5:
            expected.append(i)
    assert nms_by_class(xyxy, scores, labels, 0.5, most).tolist() == expected[:most]


def test_only_labelled_regions_reach_the_text_loss(build_student, make_samples, texts):
    model = ready(build_student, texts).train()
    x = model.extract_feat(torch.rand(3, 3, 64, 64))
    losses = model.bbox_head.loss(x, make_samples(3), texts)
    assert losses['loss_text'] > 0 and 'loss_region' not in losses


def teach(model, samples, teacher):
    """The regions of a step whose proposals a teacher is asked about."""
    head = model.bbox_head
    objectness, distances, _, _ = head.head_module(model.extract_feat(torch.rand(len(samples), 3, 64, 64)))
    regions = [sample.gt_instances for sample in samples]
    proposals = head.propose_all(*head.flatten_predictions(objectness, distances), regions, samples)
    return head.teach(regions, proposals, teacher)


@pytest.mark.parametrize('first', [True, False])
def test_an_image_without_region_targets_has_fewer_losses(build_student, make_samples, texts, first):
    """Whether the first image of a batch has targets decides for no other."""
    model = ready(build_student, texts)
    model.bbox_head.train().head_module.eval()  # images have no influence on each other
    samples = make_samples(2)
    taught = samples[0 if first else 1]
    for sample in samples:
        sample.gt_instances = make_samples(1)[0].gt_instances
    taught.gt_instances.teacher = texts[:2].clone()
    x = [f.detach() for f in model.extract_feat(torch.rand(2, 3, 64, 64))]
    losses = model.bbox_head.loss(x, samples, texts, targets=StoredTargets())
    alone = [f[:1] if first else f[1:] for f in x]
    expected = model.bbox_head.loss(alone, [taught], texts, targets=StoredTargets())
    assert losses['loss_region'] > 0
    for name in ('loss_region', 'loss_region_similarity'):
        torch.testing.assert_close(losses[name], expected[name])
    without = model.bbox_head.loss(x, make_samples(2), texts, targets=StoredTargets())
    assert 'loss_region' not in without and 'found_objects' not in without


def test_unlabelled_objects_become_objects_without_a_name(build_student, make_samples, texts):
    model = ready(build_student, texts, **{'bbox_head.proposal_score': 0.0, 'bbox_head.proposals': 2}).train()
    samples = make_samples(2)
    asked = []

    def teacher(boxes):
        asked.extend(boxes)
        return [RegionTargets(texts[:1].expand(len(box), -1), torch.full((len(box),), 0.99)) for box in boxes]

    instances = teach(model, samples, teacher)
    labelled = samples[0].gt_instances.bboxes
    assert len(asked[0]) >= 2 and torch.equal(asked[0][:2], labelled)
    assert instances[0].labels[:2].tolist() == [0, 1] and (instances[0].labels[2:] == -1).all()
    assert (instances[1].labels == -1).all() and len(instances[1]) > 0
    for instance in instances:
        assert len(instance.teacher) == len(instance.bboxes) == len(instance.labels)
    proposals = asked[0][2:]
    assert (box_iou(proposals, labelled) < 0.3).all()


def test_proposals_in_which_the_teacher_sees_background_are_dropped(build_student, make_samples, texts):
    model = ready(build_student, texts, **{'bbox_head.proposal_score': 0.0}).train()
    samples = make_samples(2)
    instances = teach(
        model,
        samples,
        lambda boxes: [RegionTargets(texts[:1].expand(len(box), -1), torch.zeros(len(box))) for box in boxes],
    )
    assert instances[0].labels.tolist() == [0, 1] and len(instances[1]) == 0


def test_the_balance_of_the_losses_does_not_depend_on_the_batch_size(build_student, make_samples, texts):
    head = ready(build_student, texts).bbox_head
    with torch.no_grad():
        x = [torch.rand(1, channels, size, size) for channels, size in ((64, 32), (128, 16), (256, 8))]
        head.train()
        head.head_module.eval()
        large = make_samples(8, 256)  # enough boxes for YOLOv8's normaliser to be above its lower bound of 1
        for sample in large:
            sample.gt_instances = make_samples(1, labels=[i % 5 for i in range(2)])[0].gt_instances
            sample.gt_instances.bboxes = sample.gt_instances.bboxes * 4
        eight = head.loss([f.expand(8, -1, -1, -1) for f in x], large, texts)
        sixteen = head.loss([f.expand(16, -1, -1, -1) for f in x], large * 2, texts)
    for name, value in eight.items():
        torch.testing.assert_close(sixteen[name], value, rtol=1e-4, atol=1e-5)
