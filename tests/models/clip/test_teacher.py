"""The teacher's weights, dtype and what it says of itself."""

import re

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from kdeov_mm.models import OpenCLIPTeacher
from kdeov_mm.models.clip import describe_teacher, identify_teacher


@pytest.fixture
def images():
    noise = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, 64, mode='bicubic').clamp(0, 1)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: dict(state_dict=state, epoch=3),
        lambda state: dict(state_dict={f'module.{name}': value for name, value in state.items()}),
        lambda state: {f'module.{name}': value for name, value in state.items()},
    ],
    ids=['bare', 'state_dict', 'state_dict of DDP', 'DDP'],
)
def test_any_local_file(tiny_teacher, images, tmp_path, wrap):
    path = tmp_path / 'weights.pt'
    torch.save(wrap(load_file(tiny_teacher)), path)
    found = OpenCLIPTeacher('kdeov-shapes', str(path)).encode_image(images)
    assert torch.equal(found, OpenCLIPTeacher('kdeov-shapes', tiny_teacher).encode_image(images))


@pytest.mark.parametrize('dtype, difference', [('bf16', 2e-2), ('fp16', 2e-3)])
def test_half_precision_is_near_and_leaves_the_weights(tiny_teacher, images, dtype, difference):
    whole = OpenCLIPTeacher('kdeov-shapes', tiny_teacher)
    expected = whole.encode_image(images)
    found = OpenCLIPTeacher('kdeov-shapes', tiny_teacher, dtype=dtype).encode_image(images)
    assert found.dtype == torch.float32 and 0 < (found - expected).norm(dim=-1).max() < difference
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(5))
    assert torch.equal(whole.encode_image(images), expected)


def test_the_students_precision_is_not_the_teachers(tiny_teacher, images):
    teacher = OpenCLIPTeacher('kdeov-shapes', tiny_teacher)
    expected = teacher.encode_image(images)
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(teacher.encode_image(images), expected)


def test_a_loss_may_use_its_answers(tiny_teacher, images):
    teacher = OpenCLIPTeacher('kdeov-shapes', tiny_teacher)
    boxes = [torch.tensor([[0.0, 0.0, 9.0, 9.0]])] * 5
    for answer in (teacher.encode_image(images), teacher.encode_regions(images, boxes)):
        assert not answer.is_inference() and not answer.requires_grad
        student = torch.ones_like(answer, requires_grad=True)
        (student * answer).sum().backward()
        assert torch.equal(student.grad, answer)


def test_oblong_images_are_cropped_as_open_clip_crops_them(tiny_teacher):
    image = torch.rand(3, 64, 100, generator=torch.Generator().manual_seed(0))
    teacher, squash = (
        OpenCLIPTeacher('kdeov-shapes', tiny_teacher, preprocess=dict(resize_mode=mode))
        for mode in ('shortest', 'squash')
    )
    middle = image[:, :, 18:82]
    expected = teacher.encode_image(middle[None])
    torch.testing.assert_close(teacher.encode_image(image[None]), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(teacher.encode_image([image, middle]), expected.repeat(2, 1), atol=1e-5, rtol=0)
    assert (squash.encode_image(image[None]) - expected).norm() > 1e-3


def test_it_says_its_memory_and_time(tiny_teacher):
    text = describe_teacher(OpenCLIPTeacher('kdeov-shapes', tiny_teacher), 3)
    found = re.fullmatch(
        r'Teacher kdeov-shapes: ([\d.]+) MiB of weights, ([\d.]+) ms for a batch of 3 images on cpu', text
    )
    model = open_clip.create_model('kdeov-shapes')
    tensors = [*model.parameters(), *model.buffers()]
    assert float(found[1]) == pytest.approx(sum(t.numel() * t.element_size() for t in tensors) / 2**20, abs=0.05)
    assert float(found[2]) > 0


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype.*fp32, bf16, fp16.*'int8'"):
        OpenCLIPTeacher('kdeov-shapes', dtype='int8')


def test_the_identity_changes_with_all_that_changes_the_embeddings(tiny_teacher):
    one = dict(type='OpenCLIPTeacher', model_name='kdeov-shapes', pretrained=tiny_teacher)
    others = [
        dict(one, pretrained='shapes'),
        dict(one, dtype='fp16'),
        dict(one, preprocess=dict(resize_mode='squash')),
        dict(one, model_name='ViT-B-32', pretrained=None),
    ]
    identities = [str(identify_teacher(each)) for each in (one, *others)]
    assert len(set(identities)) == 5
    assert str(identify_teacher(dict(one, batch_size=1))) == identities[0]
