"""The frozen side against OpenCLIP itself, on a full-size model saved to disk."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from kdeov_mm.models import OpenCLIPTeacher, OpenCLIPTextEncoder, TextBank
from kdeov_mm.models.clip import load_open_clip

NAMES = ['cat', 'traffic light']


@pytest.fixture(scope='module')
def vit_file(tmp_path_factory):
    """A randomly initialised ViT-B/32, as a downloaded one would lie on disk."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('clip') / 'vit_b_32.safetensors'
    save_file(open_clip.create_model('ViT-B-32').state_dict(), path)
    yield str(path)
    load_open_clip.cache_clear()


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'cache'))


@pytest.fixture(scope='module')
def reference(vit_file):
    return open_clip.create_model('ViT-B-32', pretrained=vit_file).eval()


def test_teacher_equals_open_clip(vit_file, reference):
    teacher = OpenCLIPTeacher('ViT-B-32', vit_file)
    images = torch.rand(2, 3, 224, 224)
    mean, std = (
        torch.tensor(value).view(1, 3, 1, 1) for value in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        expected = F.normalize(reference.encode_image((images - mean) / std), dim=-1)
    torch.testing.assert_close(teacher.encode_image(images), expected, atol=1e-5, rtol=0)
    assert teacher.embed_dims == 512
    assert teacher.logit_scale == pytest.approx(reference.logit_scale.exp().item())


def test_region_of_the_whole_image_is_the_image(vit_file):
    teacher = OpenCLIPTeacher('ViT-B-32', vit_file)
    image = F.interpolate(torch.rand(1, 3, 7, 7), 224, mode='bicubic').clamp(0, 1)
    region = teacher.encode_regions(image, [torch.tensor([[0.0, 0.0, 224.0, 224.0]])], context=1.0)
    assert F.cosine_similarity(region, teacher.encode_image(image)).item() > 0.999
    assert teacher.encode_regions(image, [torch.zeros(0, 4)]).shape == (0, 512)


def test_regions_are_the_resized_crops(vit_file):
    teacher = OpenCLIPTeacher('ViT-B-32', vit_file)
    image = F.interpolate(torch.rand(1, 3, 7, 7), 448, mode='bicubic').clamp(0, 1)
    region = teacher.encode_regions(image, [torch.tensor([[100.0, 52.0, 324.0, 276.0]])], context=1.0)
    assert F.cosine_similarity(region, teacher.encode_image(image[:, :, 52:276, 100:324])).item() > 0.999


def test_class_embeddings_equal_open_clips_zero_shot_classifier(vit_file, reference):
    few = open_clip.OPENAI_IMAGENET_TEMPLATES[:4]  # all 80 take minutes on one core
    bank = TextBank.build(NAMES, OpenCLIPTextEncoder('ViT-B-32', vit_file), [template('{}') for template in few])
    expected = open_clip.build_zero_shot_classifier(reference, open_clip.get_tokenizer('ViT-B-32'), NAMES, few)
    torch.testing.assert_close(bank.embeddings, expected.T, atol=1e-5, rtol=0)


def test_a_second_start_does_not_load_the_text_encoder(vit_file, monkeypatch):
    encoder = dict(type='OpenCLIPTextEncoder', model_name='ViT-B-32', pretrained=vit_file)
    first = TextBank.build(NAMES, encoder)
    monkeypatch.setattr('kdeov_mm.models.clip.text_encoder.load_open_clip', None)
    second = TextBank.build(NAMES, encoder)
    assert torch.equal(first.embeddings, second.embeddings) and second.names == NAMES
    with pytest.raises(TypeError):  # other names are other embeddings
        TextBank.build(NAMES[::-1], encoder)


def test_a_damaged_cache_file_is_made_anew(vit_file, tmp_path):
    encoder = OpenCLIPTextEncoder('ViT-B-32', vit_file)
    first = TextBank.build(NAMES, encoder)
    (file,) = (tmp_path / 'cache' / 'text_bank').iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(TextBank.build(NAMES, encoder).embeddings, first.embeddings)


@pytest.mark.parametrize(
    'model_name, pretrained, error, named',
    [
        ('ViT-B-23', None, ValueError, "model_name.*'ViT-B-23'.*ViT-B-32"),
        ('ViT-B-32', 'no_such_tag', ValueError, "pretrained.*'no_such_tag'.*laion2b_s34b_b79k"),
        ('ViT-B-32', 'no/such/file.pt', FileNotFoundError, 'no/such/file.pt'),
        ('ViT-B-32', 'openai', ValueError, "'openai'.*model_name='ViT-B-32-quickgelu'"),
        ('RN50', 'openai', ValueError, "'openai'.*model_name='RN50-quickgelu'"),
    ],
)
def test_a_model_that_does_not_exist_or_fit_is_named_before_loading(model_name, pretrained, error, named):
    with pytest.raises(error, match=named):
        OpenCLIPTextEncoder(model_name, pretrained)
    with pytest.raises(error, match=named):
        OpenCLIPTeacher(model_name, pretrained)


@pytest.mark.parametrize(
    'model_name, tag, quick',
    [
        ('ViT-B-32-quickgelu', 'openai', True),
        ('ViT-B-32-quickgelu', 'metaclip_400m', True),
        ('ViT-B-32', 'laion2b_s34b_b79k', False),
    ],
)
def test_quick_gelu_weights_suit_the_models_that_have_it(model_name, tag, quick):
    encoder = OpenCLIPTextEncoder(model_name, tag)
    assert encoder.id == f'{model_name}:{tag}'
    assert encoder.teacher == dict(type='OpenCLIPTeacher', model_name=model_name, pretrained=tag)
    network, weights = open_clip.get_model_config(model_name), open_clip.get_pretrained_cfg(model_name, tag)
    assert network.get('quick_gelu', False) == weights.get('quick_gelu', False) == quick


def test_weights_of_another_model_are_refused(vit_file, tmp_path):
    with pytest.raises(ValueError, match='RN50'):
        OpenCLIPTeacher('RN50', vit_file)
    broken = tmp_path / 'broken.pt'
    broken.write_text('no weights')
    with pytest.raises(ValueError, match=r'broken\.pt'):
        OpenCLIPTeacher('ViT-B-32', str(broken))
