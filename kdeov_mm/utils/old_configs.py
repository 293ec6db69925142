"""Configs of version 0.1, in which hooks held the text encoder and three fields the dimension, still work."""

import warnings
from typing import Optional

from mmengine.config import Config

PARTS = ('fusion', 'neck', 'projector', 'head_module')


def upgrade_config(cfg: Config) -> None:
    """Move what describes the model into ``cfg.model``; a config of today stays as it is.

    ``VocabularyHook.text_encoder``, ``templates`` and ``synonyms`` become ``model.text_encoder``; the dimensions of the
    parts become ``model.embed_dims``. A file of version 0.1 that inherits a config of today wins over that config. The
    metrics' own text encoders stay.
    """
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


def take_text_encoder(cfg: Config) -> Optional[dict]:
    """Take the text encoder, with its templates and synonyms, out of the hooks' configs; None if they have none."""
    found = {}
    for hook in cfg.get('custom_hooks') or []:
        if isinstance(hook, dict) and hook.get('type') in ('VocabularyHook', 'CLIPDistillationHook'):
            for name in ('text_encoder', 'templates', 'synonyms'):
                if name in hook and hook['type'] == 'VocabularyHook':
                    found[name] = hook.pop(name)
                elif name in hook:
                    found.setdefault(name, hook.pop(name))
    text_encoder = found.pop('text_encoder', None)
    if text_encoder and text_encoder.get('type') != 'PrecomputedTextEncoder':  # to which prompts mean nothing
        text_encoder = dict(text_encoder, **found)
    return text_encoder


def move_dims(model: dict, parts: list) -> None:
    """Make one ``model.embed_dims`` of the parts' dimensions; the model refuses those that differ from it."""
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
