"""Several teachers as one, against the same computed by hand."""

import pytest
import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS

from kdeov_mm.models import OpenCLIPTeacher, OpenCLIPTextEncoder
from kdeov_mm.models.clip import identify_teacher
from projects.ensemble_teacher.ensemble_teacher import EnsembleTeacher, EnsembleTextEncoder

pytestmark = pytest.mark.usefixtures('mmyolo_scope')
TEXTS = ['a red circle', 'a blue star']


@pytest.fixture(scope='module')
def sources(tiny_teacher):
    """Two models of one architecture with different weights, the second trained with another preprocessing."""
    return [dict(model_name='kdeov-shapes', pretrained=weights) for weights in (tiny_teacher, 'shapes')]


def ensemble(sources, mode):
    teachers = [dict(type='OpenCLIPTeacher', **source) for source in sources]
    teachers[1]['preprocess'] = dict(mean=(0.5, 0.5, 0.5))
    encoders = [dict(type='OpenCLIPTextEncoder', **source) for source in sources]
    return EnsembleTeacher(teachers, mode), EnsembleTextEncoder(encoders, mode)


@pytest.mark.parametrize('mode', ['concat', 'mean'])
def test_embeddings_are_those_of_the_members_combined(sources, mode):
    teacher, encoder = ensemble(sources, mode)
    images = torch.rand(3, 3, 80, 64, generator=torch.Generator().manual_seed(0))
    boxes = [torch.tensor([[4.0, 4.0, 40.0, 30.0]])] * 3
    members = [OpenCLIPTeacher(**sources[0]), OpenCLIPTeacher(**sources[1], preprocess=dict(mean=(0.5, 0.5, 0.5)))]

    def combined(parts):
        return torch.cat(parts, 1) / 2**0.5 if mode == 'concat' else F.normalize((parts[0] + parts[1]) / 2, dim=-1)

    for found, parts in (
        (teacher.encode_image(images), [member.encode_image(images) for member in members]),
        (teacher.encode_regions(images, boxes), [member.encode_regions(images, boxes) for member in members]),
        (encoder.encode_text(TEXTS), [OpenCLIPTextEncoder(**source).encode_text(TEXTS) for source in sources]),
    ):
        torch.testing.assert_close(found, combined(parts))
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(found)))
        assert found.shape[1] == teacher.embed_dims == (256 if mode == 'concat' else 128)
        assert (parts[0] - parts[1]).abs().max() > 0.01
    assert teacher.logit_scale == pytest.approx(sum(member.logit_scale for member in members) / 2)
    assert teacher.num_bytes == sum(member.num_bytes for member in members) > 0


def test_cosines_of_concatenated_embeddings_are_the_members_mean(sources):
    teacher, encoder = ensemble(sources, 'concat')
    images = torch.rand(4, 3, 64, 64)
    cosines = [
        OpenCLIPTeacher(**source, preprocess=change).encode_image(images)
        @ OpenCLIPTextEncoder(**source).encode_text(TEXTS).T
        for source, change in zip(sources, (None, dict(mean=(0.5, 0.5, 0.5))))
    ]
    torch.testing.assert_close(teacher.encode_image(images) @ encoder.encode_text(TEXTS).T, sum(cosines) / 2)


def test_its_identity_is_that_of_all_members(sources):
    teacher = dict(type='OpenCLIPTeacher', **sources[0])
    names = [
        dict(type='EnsembleTeacher', teachers=[teacher, dict(teacher, **change)], mode=mode)
        for change in ({}, dict(pretrained='shapes'), dict(dtype='bf16'), dict(preprocess=dict(resize_mode='squash')))
        for mode in ('concat', 'mean')
    ]
    identities = [str(identify_teacher(name)) for name in names]
    assert len(set(identities)) == len(names)
    assert str(identify_teacher(dict(names[0], teachers=[dict(teacher, batch_size=1), teacher]))) == identities[0]
    assert (
        EnsembleTextEncoder([dict(type='OpenCLIPTextEncoder', **source) for source in sources]).id
        != EnsembleTextEncoder([dict(type='OpenCLIPTextEncoder', **source) for source in sources[::-1]]).id
    )


@pytest.mark.parametrize('changes, value', [(dict(mode='sum'), "mode.*'sum'"), (dict(teachers=[]), 'teachers')])
def test_refusals(sources, changes, value):
    arguments = dict(type='EnsembleTeacher', teachers=[dict(type='OpenCLIPTeacher', **sources[0])])
    with pytest.raises(ValueError, match=value):
        MODELS.build(dict(arguments, **changes))


def test_the_mean_of_two_dimensions_is_refused(sources, monkeypatch):
    teachers = [dict(type='OpenCLIPTeacher', **source) for source in sources]
    dims = iter((128, 64))
    monkeypatch.setattr(OpenCLIPTeacher, 'embed_dims', property(lambda self: next(dims)))
    with pytest.raises(ValueError, match=r'kdeov-shapes \+ kdeov-shapes.*\[128, 64\]'):
        EnsembleTeacher(teachers, 'mean')
