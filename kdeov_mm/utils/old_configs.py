"""Configs of version 0.1, in which hooks held the text encoder and three fields the dimension, still work."""

import warnings

from mmengine.config import Config

MOVED = ('text_encoder', 'templates', 'synonyms')


def upgrade_config(cfg: Config) -> None:
    """Move what describes the model into ``cfg.model``; a config of today stays as it is.

    ``VocabularyHook.text_encoder``, ``templates`` and ``synonyms`` become fields of ``model.text_encoder``; the
    dimensions of the parts become ``model.embed_dims``. The metrics' own text encoders stay.
    """
    model, hooks = cfg.get('model'), cfg.get('custom_hooks') or []
    if not isinstance(model, dict) or model.get('type') not in ('KDEOV', 'YOLOWorld'):
        return
    parts = [model.get('fusion'), model.get('neck'), model.get('projector')]
    parts.append((model.get('bbox_head') or {}).get('head_module'))
    own = [part.pop(name) for part in parts if part for name in ('text_dims', 'embed_dims') if name in part]
    if own and not model.get('embed_dims'):
        model['embed_dims'] = own[-1]
    found = {}
    for hook in hooks:
        if hook.get('type') == 'VocabularyHook':
            found = {name: hook.pop(name) for name in MOVED if name in hook}
        elif hook.get('type') == 'CLIPDistillationHook' and 'text_encoder' in hook:
            found.setdefault('text_encoder', hook.pop('text_encoder'))
    if found.get('text_encoder') and not model.get('text_encoder'):
        model['text_encoder'] = dict(found.pop('text_encoder'), **found)
    if own or found:
        warnings.warn(
            f'{cfg.filename}: a config of version 0.1; its text encoder and dimension are now read as '
            'model.text_encoder and model.embed_dims'
        )
