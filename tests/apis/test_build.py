"""A student without a config file."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from PIL import Image
from torch.utils.data import DataLoader

from kdeov_mm.apis import build_kdeov, fit_alignment, student_config
from kdeov_mm.apis.build import BACKBONES
from kdeov_mm.utils import find_model, load_config

SHAPES = dict(clip='kdeov-shapes', pretrained='shapes', image_size=64)
NAMES = ['red circle', 'blue star', 'green square']


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build_kdeov(**SHAPES)


@pytest.fixture
def batches():
    """Two batches of images, each of one colour, with its name as caption."""
    colours = torch.eye(3).repeat(3, 1)[:8]
    images = colours[:, :, None, None].expand(-1, -1, 64, 64).contiguous()
    captions = [f'a {("red", "green", "blue")[i % 3]} circle' for i in range(8)]
    return DataLoader(list(zip(images, captions)), batch_size=4)


def test_embeddings(model):
    images = torch.rand(2, 3, 64, 64)
    found = model.encode_image(images)
    assert found.shape == (2, 128) and torch.allclose(found.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(found, model(images)) and found.requires_grad
    assert torch.allclose(model.encode_image((images * 255).round().to(torch.uint8)), found, atol=0.05)
    assert model.encode_image(torch.rand(1, 3, 50, 90)).shape == (1, 128)


def test_texts_are_those_of_open_clip(model):
    from kdeov_mm.models.clip.loading import find_weights

    clip = open_clip.create_model('kdeov-shapes', pretrained=find_weights('kdeov-shapes', 'shapes')).eval()
    with torch.no_grad():
        expected = F.normalize(clip.encode_text(open_clip.get_tokenizer('kdeov-shapes')(NAMES)), dim=-1)
    assert torch.allclose(model.encode_text(NAMES), expected, atol=1e-5)
    assert torch.allclose(model.encode_text(NAMES[0]), expected[:1], atol=1e-5)


def test_the_teacher_is_no_part_of_the_model(model):
    assert all(name.startswith('student.') for name in model.state_dict())


def test_zero_shot_classify_is_a_softmax(model, tmp_path):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    texts = model.encode_text([f'a photo of a {name}.' for name in NAMES])
    with torch.no_grad():
        expected = (100 * model.encode_image(images) @ texts.T).softmax(1)
    assert torch.allclose(model.zero_shot_classify(images, NAMES), expected, atol=1e-5)
    model.train()
    assert torch.allclose(model.zero_shot_classify(images[0], NAMES), expected[0], atol=1e-5) and model.training
    pixels = (images[0] * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / 'image.png')
    same = model.zero_shot_classify(pixels, NAMES)
    for kind in (array, Image.fromarray(array), tmp_path / 'image.png', str(tmp_path / 'image.png')):
        assert torch.allclose(model.zero_shot_classify(kind, NAMES), same, atol=1e-5)
    assert model.zero_shot_classify([array, array], NAMES).shape == (2, 3)


def test_fit_alignment_learns_and_repeats(batches):
    """The student comes nearer to its teacher; one seed gives one set of weights."""
    students = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build_kdeov(**SHAPES)
        history = fit_alignment(model, batches, epochs=4, lr=1e-3)
        students.append(model.state_dict())
    assert len(history) == 4 and not model.training
    assert history[-1]['loss'] < history[0]['loss']
    assert history[-1]['teacher_cosine'] > history[0]['teacher_cosine'] + 0.1
    parts = [name for name in history[0] if name.startswith('loss_')]
    assert sum(history[0][name] for name in parts) == pytest.approx(history[0]['loss'], rel=1e-4)
    assert {'loss_distill', 'loss_align', 'loss_similarity'} == set(parts)
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])


def test_shipped_weights(tiny_world):
    """The demo's weights, trained with a head, are those of an image encoder, too."""
    model = build_kdeov(**{**SHAPES, 'image_size': 128}, checkpoint=find_model('kdeov_yolov8n').weights)
    red, blue = torch.zeros(2, 3, 128, 128)
    for image, channel in ((red, 0), (blue, 2)):
        image[channel, 40:90, 40:90] = 1
    found = model.zero_shot_classify(torch.stack([red, blue]), ['red square', 'blue square'])
    assert found.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize('backbone', ['yolov8s', 'yolov8m', 'yolov5n', 'yolov5s'])
@pytest.mark.parametrize('fusion', ['cross_attention', None])
def test_backbones_and_fusions(backbone, fusion):
    model = build_kdeov('kdeov-shapes', backbone, fusion, image_size=32)
    assert model.encode_image(torch.rand(1, 3, 32, 32)).shape == (1, 128)
    assert (model.student.fusion is None) == (fusion is None)


@pytest.mark.parametrize('backbone', BACKBONES)
def test_backbones_are_mmyolos(backbone):
    """Factors and channels are those of MMYOLO's configs."""
    from mmengine.hub import get_config

    family, size = backbone[:-1], backbone[-1]
    name = f'yolov8_{size}' if family == 'yolov8' else f'yolov5_{size}-v61'
    schedule = '8xb16-500e' if family == 'yolov8' else '8xb16-300e'
    expected = get_config(f'mmyolo::{family}/{name}_syncbn_fast_{schedule}_coco.py').model
    found = student_config('kdeov-shapes', backbone).model
    assert found.backbone.to_dict() == expected.backbone.to_dict() and found.neck.to_dict() == expected.neck.to_dict()
    for part in (found.fusion, found.projector):
        assert (part.in_channels, part.widen_factor) == (expected.neck.out_channels, expected.neck.widen_factor)


def test_the_config_is_one_that_the_tools_read(tmp_path):
    student_config('kdeov-shapes', 'yolov8s', 'cross_attention', 'shapes').dump(tmp_path / 'mine.py')
    cfg = load_config(str(tmp_path / 'mine.py'))
    assert cfg.model.text_encoder.to_dict() == dict(
        type='OpenCLIPTextEncoder', model_name='kdeov-shapes', pretrained='shapes'
    )
    model = build_kdeov('kdeov-shapes', 'yolov8s', 'cross_attention', 'shapes')
    built = MODELS.build(cfg.model)
    assert {k: v.shape for k, v in built.state_dict().items()} == {
        k: v.shape for k, v in model.student.state_dict().items()
    }


def test_fit_alignment_takes_a_list_of_batches_and_writes_nothing(model, batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(fit_alignment(model, list(batches), epochs=1)) == 1
    assert not list(tmp_path.iterdir())


def test_dimension_of_a_real_clip():
    assert build_kdeov('RN50', image_size=32).student.embed_dims == open_clip.get_model_config('RN50')['embed_dim']


@pytest.mark.parametrize(
    'options, named',
    [
        (dict(clip='ViT-B-33'), 'ViT-B-33'),
        (dict(pretrained='no_such_tag'), 'no_such_tag'),
        (dict(backbone='yolov9n'), 'yolov9n'),
        (dict(fusion='cross'), 'cross'),
        (dict(image_size=100), '100'),
    ],
)
def test_unknown_names_are_refused(options, named):
    with pytest.raises(ValueError, match=named):
        build_kdeov(**options)


@pytest.mark.parametrize(
    'data, options, named',
    [
        ([], {}, 'data'),
        ([(torch.zeros(1, 3, 32, 32), ['one'])], {}, 'drop_last'),
        ([(torch.zeros(2, 3, 32, 32), ['one'])], {}, r'\b2 images\b.*\b1 captions\b'),
        ([(torch.zeros(2, 32, 32, 3), ['one', 'two'])], {}, r'\[2, 32, 32, 3\]'),
        ([], dict(epochs=0), 'epochs'),
        ([], dict(lr=0.0), 'lr'),
    ],
)
def test_bad_data_are_refused(model, data, options, named):
    with pytest.raises(ValueError, match=named):
        fit_alignment(model, data, **{'epochs': 1, **options})
