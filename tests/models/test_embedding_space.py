"""What a model's config says of its embedding space, and that nothing else says it."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmyolo.registry import MODELS

from kdeov_mm.models import OpenCLIPTextEncoder, PrecomputedTextEncoder
from kdeov_mm.models.clip import TextEncoder
from kdeov_mm.models.dual_encoder import TextTower

PACKAGE = Path(__file__).resolve().parents[2] / 'kdeov_mm'
READERS = [
    path
    for folder in ('deploy', 'search', 'apis', 'demo', 'engine/cached_test_loop.py')
    for path in ([PACKAGE / folder] if folder.endswith('.py') else sorted((PACKAGE / folder).rglob('*.py')))
]


def test_no_code_asks_a_hooks_config_what_the_model_is():
    for path in READERS:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
        names = {getattr(node, 'id', None) or getattr(node, 'name', None) for node in nodes}
        assert not strings & {'VocabularyHook', 'CLIPDistillationHook'} and 'find_hook' not in names, path


def test_the_text_encoder_is_in_no_checkpoint_and_no_optimizer(build_student, tiny_teacher):
    student = build_student(**{'text_encoder.pretrained': tiny_teacher})
    keys, parts = set(student.state_dict()), set(dict(student.named_modules()))
    assert isinstance(student.text_encoder, OpenCLIPTextEncoder)
    assert student.text_encoder.encode_text(['dog']).shape == (1, 128)
    assert student.text_encoder is student.text_encoder
    assert set(student.state_dict()) == keys and set(dict(student.named_modules())) == parts
    assert not any('text_encoder' in name for name in keys | parts)
    wrapper = build_optim_wrapper(student, dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)))
    trained = {id(p) for group in wrapper.optimizer.param_groups for p in group['params']}
    assert trained == {id(p) for p in student.parameters()}


def test_every_text_encoder_offers_the_same(tiny_teacher, tmp_path):
    np.save(tmp_path / 'one.npy', np.eye(1, 4, dtype=np.float32))
    encoders = [
        OpenCLIPTextEncoder('kdeov-shapes', tiny_teacher),
        PrecomputedTextEncoder(str(tmp_path / 'one.npy'), ['dog']),
        TextTower(None),
    ]
    assert all(isinstance(encoder, TextEncoder) for encoder in encoders)
    assert not isinstance(object(), TextEncoder)


def test_a_text_encoder_that_is_a_module_is_no_part_either(build_student):
    student = build_student()
    student.__dict__['text_encoder'] = torch.nn.Linear(2, 2)  # as cached_property keeps it
    assert not any('text_encoder' in name for name in [*student.state_dict(), *dict(student.named_modules())])


def test_one_dimension_reaches_all_parts(build_student):
    student = build_student(embed_dims=32)
    dims = student.fusion.embed_dims, student.projector.embed_dims, student.bbox_head.head_module.embed_dims
    assert dims == (32, 32, 32) == (student.embed_dims,) * 3 and student.texts.shape == (0, 32)


@pytest.mark.parametrize('part', ['fusion', 'projector', 'bbox_head.head_module'])
def test_a_part_of_another_dimension_is_refused(build_student, part):
    build_student(**{f'{part}.embed_dims': 128})
    with pytest.raises(ValueError, match=rf'^model\.{part}\.embed_dims: 64 .*model\.embed_dims=128'):
        build_student(**{f'{part}.embed_dims': 64})


def test_a_model_without_text_encoder_takes_ready_embeddings_only(build_student):
    student = build_student(text_encoder=None)
    with pytest.raises(ValueError, match=r'^model\.text_encoder: KDEOV'):
        _ = student.text_encoder


def test_a_teacher_of_another_dimension_is_refused(tiny_teacher):
    cfg = dict(
        type='TeacherModel',
        text_encoder=dict(type='OpenCLIPTextEncoder', model_name='kdeov-shapes', pretrained=tiny_teacher),
    )
    assert MODELS.build(dict(cfg, embed_dims=128)).teacher.embed_dims == 128
    with pytest.raises(ValueError, match=r'^model\.embed_dims: 512\b.*\b128\b'):
        MODELS.build(dict(cfg, embed_dims=512))
