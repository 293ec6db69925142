"""Dual encoders from configs of their towers, against transformers and timm themselves."""

import copy
import sys

import open_clip
import pytest
import timm
import torch
from mmyolo.registry import MODELS

from kdeov_mm.models.clip.towers import build_towers

TEXTS = ['a red bus at night', 'two dogs', 'a plate of food on a table']
VISION = dict(timm_model_name='resnet10t', image_size=32, timm_pool='avg', timm_drop=0.1)
OWN_TEXT = dict(context_length=16, width=32, heads=2, layers=1)


@pytest.fixture(params=['distilbert', 'bert'])
def folder(request, tiny_hugging_face):
    return tiny_hugging_face(request.param, TEXTS)


def model_cfg(folder):
    text = dict(hf_model_name=folder, hf_proj_type='linear', hf_pooler_type='mean_pooler', context_length=12)
    return dict(embed_dim=16, vision_cfg=VISION, text_cfg=text)


def build(**kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(type='OpenCLIPDualEncoder', **kwargs))


def test_text_is_the_mean_of_what_hugging_face_gives(folder):
    from transformers import AutoModel, AutoTokenizer

    model = build(model_cfg=model_cfg(folder), pretrained=None).eval()
    reference = AutoModel.from_pretrained(folder).eval()
    missing = model.clip.text.transformer.load_state_dict(reference.state_dict(), strict=False)
    assert not missing.missing_keys  # a pooling layer of the reference may be over
    tokens = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors='pt')
    with torch.no_grad():
        hidden = reference(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).last_hidden_state
        mask = tokens.attention_mask[..., None]
        expected = model.clip.text.proj((hidden * mask).sum(1) / mask.sum(1))
        found = model.encode_text(TEXTS)
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=-1), atol=1e-5, rtol=1e-4)


def test_pretrained_weights_are_those_of_the_folder(folder):
    from transformers import AutoModel

    vision = dict(width=16, layers=1, patch_size=16, image_size=32, head_width=8)  # OpenCLIP's own: nothing to download
    clip, _ = build_towers(dict(model_cfg(folder), vision_cfg=vision), pretrained=True)
    for name, value in AutoModel.from_pretrained(folder).state_dict().items():
        if 'pooler' not in name:
            assert torch.equal(clip.text.transformer.state_dict()[name], value), name


def test_image_is_the_projection_of_what_timm_gives(folder):
    model = build(model_cfg=model_cfg(folder)).eval()
    reference = timm.create_model('resnet10t', num_classes=0).eval()
    reference.load_state_dict(model.clip.visual.trunk.state_dict())
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    with torch.no_grad():
        expected = model.clip.visual.head(reference((images - mean) / std))
        torch.testing.assert_close(model.encode_image(images), torch.nn.functional.normalize(expected, dim=-1))


def test_openclips_own_text_tower():
    model = build(model_cfg=dict(embed_dim=16, vision_cfg=VISION, text_cfg=OWN_TEXT))
    assert model.encode_text(TEXTS).shape == (3, 16)
    assert model.tokenizer(TEXTS).shape == (3, 16)


@pytest.mark.parametrize('frozen', [['image'], ['text'], ['image', 'text'], []])
def test_frozen_towers_do_not_change(frozen, folder):
    model = build(model_cfg=model_cfg(folder), frozen=frozen).train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (model.encode_image(images).sum() + model.encode_text([*TEXTS, 'a dog']).sum()).backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    for tower, trunk, projection in (
        ('image', 'clip.visual.trunk.', 'clip.visual.head.proj'),
        ('text', 'clip.text.transformer.', 'clip.text.proj'),
    ):
        assert any(name.startswith(projection) for name in changed)
        assert any(name.startswith(trunk) for name in changed) == (tower not in frozen)  # batch statistics included
    if frozen == ['image', 'text']:
        assert not any(part.training for part in (model.clip.visual.trunk, model.clip.text.transformer))
        assert model.clip.visual.head.training, "the projection's dropout"


@pytest.mark.parametrize(
    'change, named',
    [
        (
            dict(vision_cfg=dict(timm_model_name='legacy_xceptoin')),
            "'legacy_xceptoin'.*legacy_xc",
        ),
        (dict(vision_cfg=dict(timm_pol='avg')), "vision_cfg.*'timm_pol'.*timm_pool"),
        (dict(text_cfg=dict(hf_model='bert')), "text_cfg.*'hf_model'"),
        (dict(embed_dims=3), r"model_cfg.*'embed_dims'.*embed_dim\b"),
        (dict(text_cfg=None), 'embed_dim, vision_cfg .*text_cfg'),
        (dict(text_cfg=dict(hf_model_name='/no/such/folder')), "'/no/such/folder'"),
    ],
)
def test_errors_name_the_field(change, named):
    cfg = {**dict(embed_dim=16, vision_cfg=VISION, text_cfg=OWN_TEXT), **change}
    with pytest.raises(ValueError, match=named):
        build_towers(cfg)


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r'pip install "kdeov_mm\[huggingface\]"'):
        build_towers(dict(embed_dim=16, vision_cfg=VISION, text_cfg=dict(hf_model_name='bert-base-uncased')))


@pytest.mark.parametrize(
    'options, named',
    [
        (dict(), 'model_name .*model_cfg'),
        (dict(model_name='kdeov-shapes', model_cfg={}), 'model_name .*model_cfg'),
        (dict(model_name='kdeov-shapes', frozen=['image']), r"frozen.*\['image'\]"),
        (dict(model_cfg={}, frozen=['images']), r"frozen.*\['images'\]"),
        (dict(model_cfg={}, pretrained='laion2b'), "pretrained.*'laion2b'"),
    ],
)
def test_bad_options(options, named):
    with pytest.raises(ValueError, match=named):
        build(**options)
