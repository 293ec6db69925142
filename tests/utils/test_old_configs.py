"""Configs of version 0.1 describe the same models as before."""

from pathlib import Path

import pytest
from mmengine.runner import load_checkpoint
from mmyolo.registry import MODELS

from kdeov_mm.utils import InputError, load_config

ROOT = Path(__file__).resolve().parents[2]
OLD = Path(__file__).parent / 'old_configs'  # dumped by version 0.1
INHERITING = f"""
_base_ = '{ROOT}/configs/kdeov_yolov8n.py'
clip = dict(model_name='ViT-B-32-quickgelu', pretrained='weights/clip.safetensors')
text_encoder = dict(type='OpenCLIPTextEncoder', **clip)
model = dict(
    fusion=dict(text_dims=512),
    projector=dict(embed_dims=512),
    bbox_head=dict(head_module=dict(embed_dims=512)))
custom_hooks = [
    dict(type='VocabularyHook', text_encoder=text_encoder, templates='vild', synonyms=dict(sofa=['couch'])),
    dict(type='CLIPDistillationHook', teacher=dict(type='OpenCLIPTeacher', **clip), text_encoder=text_encoder),
]
"""


@pytest.fixture
def read(tmp_path):
    """Reads a config from its text."""

    def read(text):
        (tmp_path / 'config.py').write_text(text)
        return load_config(str(tmp_path / 'config.py'))

    return read


@pytest.mark.parametrize('name', ['kdeov_yolov8n', 'kdeov_yolov8n_ov-coco_text-only'])
def test_a_dumped_one_has_the_model_of_today(name):
    with pytest.warns(UserWarning, match='version 0.1'):
        old = load_config(str(OLD / f'{name}.py'))
    new = load_config(str(ROOT / 'configs' / f'{name}.py'))
    scoring = (
        'lexicon',
        'background',
        'image_background',
    )  # without them the classes of a vocabulary compete, as in version 0.1
    assert old.model.to_dict() == {k: v for k, v in new.model.to_dict().items() if k not in scoring}
    ours = ('VocabularyHook', 'CLIPDistillationHook')
    fields = [[set(hook) for hook in cfg.custom_hooks if hook.type in ours] for cfg in (old, new)]
    assert [hook - {'teacher'} for hook in fields[0]] == fields[1]  # a teacher of its own may stay


def test_the_shipped_weights_load_into_it(mmyolo_scope):
    model = MODELS.build(load_config(str(OLD / 'kdeov_yolov8n.py')).model)
    load_checkpoint(model, str(ROOT / 'kdeov_mm/weights/kdeov_yolov8n.safetensors'), strict=True, logger='silent')


def test_one_that_inherits_todays_keeps_its_own_clip(read):
    model = read(INHERITING).model
    assert model.embed_dims == 512 and not any(
        name in part
        for part in (model.fusion, model.projector, model.bbox_head.head_module)
        for name in ('text_dims', 'embed_dims')
    )
    assert model.text_encoder.to_dict() == dict(
        type='OpenCLIPTextEncoder',
        model_name='ViT-B-32-quickgelu',
        pretrained='weights/clip.safetensors',
        templates='vild',
        synonyms=dict(sofa=['couch']),
    )


def test_attention_keeps_its_width(read):
    fusion = "dict(_delete_=True, type='CrossAttentionFusion', in_channels=[8, 16, 32], text_dims=512, embed_dims=48)"
    model = read(INHERITING.replace('dict(text_dims=512)', fusion)).model
    assert model.fusion.attn_dims == 48 and 'embed_dims' not in model.fusion and model.embed_dims == 512


def test_parts_that_disagree_are_refused(read, mmyolo_scope):
    cfg = read(INHERITING.replace('dict(text_dims=512)', 'dict(text_dims=64)'))
    with pytest.raises(ValueError, match=r'model\.fusion\.embed_dims: 64'):
        MODELS.build(cfg.model)


def test_ready_embeddings_take_no_prompts(read):
    ready = "dict(type='PrecomputedTextEncoder', embeddings='e.npy', names=['a'])"
    model = read(INHERITING.replace("dict(type='OpenCLIPTextEncoder', **clip)", ready)).model
    assert model.text_encoder.to_dict() == dict(type='PrecomputedTextEncoder', embeddings='e.npy', names=['a'])


@pytest.mark.parametrize(
    'change, named',
    [
        ('model = dict(bbox_head=dict(loss_bag=dict(type="CrossModalAlignmentLoss")))', 'OpenVocabHead.loss_bag'),
        ('model = dict(bbox_head=dict(loss_region=dict(mode="l2")))', 'DistillationLoss.mode'),
        ('model = dict(fusion=dict(levels=[1]))', 'FiLMFusion.levels'),
        ('model = dict(loss_image=dict(losses=dict(crd=dict(type="ContrastiveRelationalLoss"))))', 'ContrastiveRel'),
        ('model = dict(loss_image=dict(losses=dict(siglip=dict(type="SigmoidLoss"))))', 'projects/sigmoid_loss'),
        ('custom_hooks = [dict(type="CLIPDistillationHook", test=False)]', 'CLIPDistillationHook.test'),
        ('default_hooks = dict(loss_guard=dict(action="skip", max_loss=100.0))', 'LossGuardHook.action'),
    ],
)
def test_a_removed_option_is_named(read, change, named):
    with pytest.raises(InputError, match=named):
        read(f"_base_ = '{ROOT}/configs/kdeov_yolov8n.py'\n{change}\n")


def test_a_removed_option_that_changes_nothing_is_dropped(read):
    changes = 'model = dict(fusion=dict(levels=None, hidden_dims=128), bbox_head=dict(loss_text=1.0, loss_bag=None))'
    cfg = read(f"_base_ = '{ROOT}/configs/kdeov_yolov8n.py'\n{changes}\n")
    assert cfg.model.to_dict() == load_config(str(ROOT / 'configs/kdeov_yolov8n.py')).model.to_dict()


def test_todays_stay_as_they_are(recwarn):
    cfg = load_config(str(ROOT / 'configs' / 'kdeov_yolov8n_ov-coco.py'))
    assert cfg.model.embed_dims == 512 and cfg.model.text_encoder.pretrained == 'openai'
    assert not [warning for warning in recwarn if 'version 0.1' in str(warning.message)]
