"""A vocabulary with its embeddings, cached on disk."""
import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence, Union

import open_clip
from mmyolo.registry import MODELS
from safetensors.torch import load_file, save_file
from torch import Tensor

TEMPLATES = {
    'none': ['{}'],
    'single': ['a photo of a {}.'],
    'openai_imagenet_80': [template('{}') for template in open_clip.OPENAI_IMAGENET_TEMPLATES],
}


def cache_dir() -> Path:
    """Where text banks are cached: ``$KDEOV_CACHE`` or ``~/.cache/kdeov_mm``."""
    return Path(os.environ.get('KDEOV_CACHE', Path.home() / '.cache' / 'kdeov_mm'))


def resolve_templates(templates: Union[str, Sequence[str]]) -> List[str]:
    """Turn a template set's name, or a list of templates with one ``{}`` each, into a list.

    Raises:
        ValueError: Unknown name, empty list, or a template without ``{}``.
    """
    if isinstance(templates, str):
        if templates not in TEMPLATES:
            raise ValueError(f'templates: unknown set {templates!r}; choose one of {", ".join(TEMPLATES)} or give a list')
        return TEMPLATES[templates]
    bad = [template for template in templates if template.count('{}') != 1]
    if bad or not templates:
        raise ValueError(f'templates: each needs exactly one "{{}}" for the name, got {bad or templates!r}')
    return list(templates)


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a vocabulary that is empty or has empty, non-string or repeated names."""
    if not names:
        raise ValueError('names: the vocabulary is empty; give at least one name')
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'names: each name must be a non-empty string, got {name!r}')
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f'names: {repeated[:5]!r} stand there more than once; name each class once')


@dataclass
class TextBank:
    """Names and their embeddings.

    Attributes:
        names: K texts.
        embeddings: float32, rows L2-normalised, ``[K, D]``.
    """

    names: List[str]
    embeddings: Tensor

    @classmethod
    def build(cls, names: Sequence[str], text_encoder: Union[dict, object],
              templates: Union[str, Sequence[str]] = 'single') -> 'TextBank':
        """Embed a vocabulary, or load it from the cache without loading the text encoder.

        Args:
            names: Distinct texts.
            text_encoder: A text encoder or its config.
            templates: ``none``, ``single``, ``openai_imagenet_80`` or a list of templates with one ``{}`` each.

        Raises:
            ValueError: Bad names or templates.
        """
        names = list(names)
        check_names(names)
        templates = resolve_templates(templates)
        encoder = MODELS.build(text_encoder) if isinstance(text_encoder, dict) else text_encoder
        if encoder.id is None:
            return cls(names, encoder.encode_names(names, templates))
        key = hashlib.sha256(json.dumps([encoder.id, templates, names]).encode()).hexdigest()[:32]
        path = cache_dir() / 'text_bank' / f'{key}.safetensors'
        if path.is_file():
            try:
                return cls(names, load_file(path)['embeddings'])
            except Exception:  # a damaged cache file is only a slower start
                path.unlink(missing_ok=True)
        embeddings = encoder.encode_names(names, templates)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f'.{os.getpid()}.tmp')
        save_file({'embeddings': embeddings.contiguous()}, partial)
        os.replace(partial, path)
        return cls(names, embeddings)
