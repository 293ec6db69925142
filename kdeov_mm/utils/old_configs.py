"""Conversion of configs of version 0.1, in which hooks had the text encoder and three fields the dimension.

Removed options are dropped if they have their default value, and refused otherwise.
"""

import math
import warnings
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from .errors import InputError

PARTS = ('fusion', 'neck', 'projector', 'head_module')
REMOVED_OPTIONS = {  # (type, option): former default, and advice for other values
    ('BrokenImagesHook', 'file_name'): ('broken_images.tsv', 'the file is broken_images.tsv'),
    ('CachedTeacherDataset', 'verify'): (True, 'stored files are always compared with their checksums'),
    ('CLIPDistillationHook', 'background_prompts'): (
        ['an empty background', 'nothing but a background'],
        'the prompts are BACKGROUND_PROMPTS in kdeov_mm/models/clip/region_teacher.py',
    ),
    ('CLIPDistillationHook', 'test'): (True, 'to test without the teacher, leave the hook out'),
    ('CrossAttentionFusion', 'levels'): (None, 'all levels are conditioned on text'),
    ('CrossModalAlignmentLoss', 'max_scale'): (100.0, 'the bound is 100'),
    ('DistillationLoss', 'mode'): ('cosine', 'leave it out; for l2 double loss_weight, which is the same loss'),
    ('FiLMFusion', 'hidden_dims'): (128, 'the width is 128'),
    ('FiLMFusion', 'levels'): (None, 'all levels are conditioned on text'),
    ('ImageTextDataset', 'delimiter'): (None, 'a .tsv file has tabs, any other commas'),
    ('ImageTextShards', 'round_up'): (True, 'all processes make the same number of steps'),
    ('InteractiveContrastiveLoss', 'max_scale'): (100.0, 'the bound is 100'),
    ('LossGuardHook', 'action'): ('stop', 'a bad batch stops training'),
    ('LossGuardHook', 'max_loss'): (math.inf, 'a loss of any finite size is allowed'),
    ('LossGuardHook', 'max_skips'): (10, 'a bad batch stops training'),
    ('OpenCLIPDualEncoder', 'max_logit_scale'): (100.0, 'the bound is 100'),
    ('OpenVocabHead', 'loss_bag'): (None, 'it had no measurable gain; leave it out'),
    ('OpenVocabHead', 'loss_text'): (1.0, 'scale the other losses instead'),
    ('OpenVocabHeadModule', 'tower_dims'): (None, "the width is YOLOv8's"),
    ('Projector', 'hidden_dims'): (512, 'the width is 512'),
    ('ReportHook', 'out_dir'): ('report', 'the folder is report/'),
    ('RetrievalMetric', 'block_size'): (128, 'the size is 128'),
    ('RetrievalMetric', 'num_examples'): (6, 'pictures have 6 queries'),
    ('TimmClassifier', 'label_smoothing'): (0.0, 'leave it out'),
}
REMOVED_TYPES = {
    'AffinityMimickingLoss': 'use InteractiveContrastiveLoss',
    'ContrastiveRelationalLoss': 'use InteractiveContrastiveLoss',
    'EnsembleTeacher': 'see projects/ensemble_teacher/README.md',
    'EnsembleTextEncoder': 'see projects/ensemble_teacher/README.md',
    'SigmoidLoss': 'see projects/sigmoid_loss/README.md',
}


def upgrade_config(cfg: Config) -> None:
    """Move what describes the model into ``cfg.model``; a config of today stays as it is.

    ``VocabularyHook.text_encoder``, ``templates`` and ``synonyms`` become ``model.text_encoder``; the dimensions of the
    parts become ``model.embed_dims``. A file of version 0.1 that inherits a config of today wins over that config. The
    metrics' own text encoders stay.

    Raises:
        InputError: If the config names a removed option or class.
    """
    drop_removed(cfg)
    model = cfg.get('model')
    if not isinstance(model, dict) or model.get('type') not in ('KDEOV', 'YOLOWorld'):
        return
    text_encoder = take_text_encoder(cfg)
    parts = {**model, **(model.get('bbox_head') or {})}
    parts = [parts[name] for name in PARTS if parts.get(name)]
    if text_encoder is None and 'embed_dims' in model and not any('text_dims' in part for part in parts):
        return
    if text_encoder is not None:
        model['text_encoder'] = text_encoder
    move_dims(model, parts)
    warnings.warn(
        f'{cfg.filename}: a config of version 0.1; its text encoder and dimension are now read as '
        'model.text_encoder and model.embed_dims'
    )


def drop_removed(cfg: Config) -> None:
    """Drop removed options that have their default value.

    Refuse other values, and removed classes unless another import of the config may define them.
    """
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    own = {imports} if isinstance(imports, str) else set(imports)
    for node in typed_nodes(cfg._cfg_dict):
        kind = str(node['type']).rsplit('.', 1)[-1]
        if kind in REMOVED_TYPES and own <= {'kdeov_mm'}:
            raise InputError(f'{cfg.filename}: {kind} is no longer part of kdeov_mm; {REMOVED_TYPES[kind]}')
        for name in [name for name in node if (kind, name) in REMOVED_OPTIONS]:
            default, advice = REMOVED_OPTIONS[kind, name]
            value = node.pop(name)
            if (list(value) if isinstance(default, list) else value) != default:
                raise InputError(f'{cfg.filename}: {kind}.{name}={value!r}: the option has been removed; {advice}')


def typed_nodes(value: Any) -> Iterator[dict]:
    """Return all dicts of a config that have a ``type``."""
    if isinstance(value, dict):
        if 'type' in value:
            yield value
        value = list(value.values())
    for item in value if isinstance(value, (list, tuple)) else ():
        yield from typed_nodes(item)


def take_text_encoder(cfg: Config) -> dict | None:
    """Remove the text encoder with templates and synonyms from the hooks' configs and return it, or None."""
    settings = {}
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, dict) and hook.get('type') in ('VocabularyHook', 'CLIPDistillationHook'):
            for name in ('text_encoder', 'templates', 'synonyms'):
                if name in hook and hook['type'] == 'VocabularyHook':
                    settings[name] = hook.pop(name)
                elif name in hook:
                    settings.setdefault(name, hook.pop(name))
    text_encoder = settings.pop('text_encoder', None)
    if text_encoder and text_encoder.get('type') != 'PrecomputedTextEncoder':  # which has no prompts
        text_encoder = dict(text_encoder, **settings)
    return text_encoder


def move_dims(model: dict, parts: list) -> None:
    """Replace the parts' dimensions by ``model.embed_dims``; the model refuses different ones."""
    for part in parts:
        if 'text_dims' in part and 'embed_dims' in part:  # attention's width
            part['attn_dims'] = part.pop('embed_dims')
        if 'text_dims' in part:
            part['embed_dims'] = part.pop('text_dims')
    dims = [part['embed_dims'] for part in parts if 'embed_dims' in part]
    if dims:
        model['embed_dims'] = dims[-1]
    for part in parts:
        if part.get('embed_dims') == model.get('embed_dims'):
            part.pop('embed_dims', None)
