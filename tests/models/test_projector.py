"""The projector against pooling by hand."""

import pytest
import torch
import torch.nn.functional as F

from kdeov_mm.models import Projector


@pytest.fixture
def feats():
    torch.manual_seed(0)
    return [torch.randn(3, channels, side, side + 1) for channels, side in ((8, 8), (16, 4), (24, 2))]


@pytest.fixture
def projector():
    torch.manual_seed(1)
    return Projector([8, 16, 24], embed_dims=10)


def test_it_projects_each_levels_mean_and_maximum(projector, feats):
    projector.eval()
    pooled = []
    for image in range(3):
        values = []
        for level in feats:
            values += [level[image, c].mean() for c in range(level.shape[1])]
            values += [level[image, c].max() for c in range(level.shape[1])]
        pooled.append(torch.stack(values))
    expected = projector.layers(torch.stack(pooled))
    expected = expected / expected.square().sum(-1, keepdim=True).sqrt()
    torch.testing.assert_close(projector(feats), expected)


def test_embeddings_are_float32_and_normalised(projector, feats):
    projector.eval()
    found = projector(feats)
    assert found.shape == (3, 10) and found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))
    with torch.autocast('cpu', torch.bfloat16):
        assert projector(feats).dtype == torch.float32


def test_an_image_is_embedded_alike_in_any_company(projector, feats):
    projector.eval()
    alone = projector([level[1:2] for level in feats])
    torch.testing.assert_close(alone, projector(feats)[1:2])


def test_images_of_any_size_are_embedded(projector, feats):
    projector.eval()
    doubled = [F.interpolate(level, scale_factor=2, mode='nearest') for level in feats]
    torch.testing.assert_close(projector(doubled), projector(feats))  # neither mean nor maximum has changed


def test_widths_follow_the_necks(feats):
    half = Projector([16, 32, 48], embed_dims=10, widen_factor=0.5)
    assert half.embed_dims == 10 and half(feats).shape == (3, 10)


def test_every_level_learns(projector, feats):
    feats = [level.requires_grad_() for level in feats]
    projector(feats)[:, 0].sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in feats)
    assert all(parameter.grad.abs().sum() > 0 for parameter in projector.parameters())
