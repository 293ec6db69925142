"""Bags of regions, against plain loops."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData

from kdeov_mm.models import TextBank
from kdeov_mm.models.bags import bag_embeddings, enclosing_boxes, pair_neighbours
from kdeov_mm.models.targets import RegionTargets, StoredTargets


def test_each_box_is_paired_with_its_nearest_once():
    boxes = torch.tensor([[0.0, 0, 2, 2], [3, 0, 5, 2], [20, 0, 22, 2], [24, 0, 26, 2], [9, 0, 11, 2]])
    assert pair_neighbours(boxes).tolist() == [[0, 1], [1, 4], [2, 3]]
    assert enclosing_boxes(boxes, pair_neighbours(boxes)).tolist() == [[0, 0, 5, 2], [3, 0, 11, 2], [20, 0, 26, 2]]
    assert pair_neighbours(boxes[:1]).shape == pair_neighbours(boxes[:0]).shape == (0, 2)


def test_a_bag_is_the_normalised_mean_of_its_regions():
    generator = torch.Generator().manual_seed(0)
    instances = [InstanceData(bboxes=torch.rand(n, 4)) for n in (2, 1, 3)]
    pairs = [torch.tensor([[0, 1]]), torch.zeros(0, 2, dtype=torch.long), torch.tensor([[0, 1], [1, 2]])]
    owner = torch.tensor([0, 0, 1, 2, 3, 4, 4])  # instance 5 has no prior
    embeddings = F.normalize(torch.randn(7, 8, generator=generator), dim=-1)
    weight = torch.rand(7, generator=generator)
    found, valid = bag_embeddings(embeddings, owner, weight, instances, pairs)

    def region(instance):
        return F.normalize(sum(weight[i] * embeddings[i] for i in range(7) if owner[i] == instance), dim=0)

    assert valid.tolist() == [True, True, False]
    torch.testing.assert_close(
        found, torch.stack([F.normalize(region(a) + region(b), dim=0) for a, b in ((0, 1), (3, 4))])
    )


@pytest.mark.parametrize('bags', [True, False])
def test_the_head_asks_the_teacher_for_the_boxes_around_pairs(build_student, make_samples, texts, bags):
    changes = {'bbox_head.loss_bag': dict(type='CrossModalAlignmentLoss')} if bags else {}
    model = build_student(**{'bbox_head.proposals': 0, **changes}).train()
    model.set_vocabulary(TextBank([str(i) for i in range(5)], texts))
    samples = make_samples(2)
    samples[1].gt_instances = samples[0].gt_instances
    asked = []

    class Teacher(StoredTargets):
        any_box = True

        def region_targets(self, images, samples, boxes, texts):
            asked.append([image.tolist() for image in boxes])
            return [
                RegionTargets(F.normalize(torch.randn(len(box), 128), dim=-1), torch.ones(len(box))) for box in boxes
            ]

    x = model.extract_feat(torch.rand(2, 3, 64, 64))
    losses = model.bbox_head.loss(x, samples, texts, targets=Teacher())
    assert ('loss_bag' in losses) == bags
    if bags:
        assert asked[1:] == [[[[4.0, 4.0, 60.0, 60.0]]] * 2]
        losses['loss_bag'].backward()
        assert model.bbox_head.head_module.embed.weight.grad.abs().sum() > 0
