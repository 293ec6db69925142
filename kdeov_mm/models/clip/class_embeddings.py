"""Class names with their embeddings, cached on disk."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kdeov_mm.text import build_prompts, check_class_names, read_synonyms, resolve_templates
from kdeov_mm.utils.arrays import find_bad_row, row_defect
from kdeov_mm.utils.display import shorten
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import atomic_path
from .text_encoder import TextEncoder


def cache_dir() -> Path:
    """Return the folder of cached embeddings: ``$KDEOV_CACHE`` or ``~/.cache/kdeov_mm``."""
    given = os.environ.get('KDEOV_CACHE')
    return Path(given) if given else Path.home() / '.cache' / 'kdeov_mm'


@dataclass
class ClassEmbeddings:
    """Holds class names and their embeddings, the weights of a zero-shot classifier.

    Attributes:
        class_names: K names.
        embeddings: float32, rows L2-normalised, ``[K, D]``.
    """

    class_names: list[str]
    embeddings: Tensor

    @property
    def names(self) -> list[str]:
        """The old name of ``class_names``, for one release."""
        return self.class_names

    @classmethod
    def build(
        cls,
        names: Sequence[str],
        text_encoder: dict | TextEncoder,
        templates: str | Sequence[str] | None = None,
        synonyms: str | Mapping[str, Sequence[str]] | None = None,
    ) -> 'ClassEmbeddings':
        """Embed class names, or load their embeddings from the cache without loading the text encoder.

        For the prompts see :func:`~kdeov_mm.text.build_prompts`. The embeddings of a PrecomputedTextEncoder stay
        unchanged.

        Args:
            names: Class names without duplicates.
            text_encoder: A text encoder or its config.
            templates: ``none``, ``single``, ``openai_imagenet_80``, ``vild``, a file with one template a line, or a
                list of templates with one ``{}`` each; None: the encoder's own, and its synonyms with them.
            synonyms: ``{name: [synonym, ...]}`` or a file with them, see :func:`read_synonyms`. The name itself
                is always embedded too, and names without synonyms may be missing. None: no synonyms if ``templates``
                are given.

        Raises:
            ValueError: If class names, templates or synonyms are invalid; see ``check_class_names``,
                ``resolve_templates`` and ``read_synonyms``.
            FileNotFoundError: If a file of templates or synonyms is missing.
        """
        check_class_names(names)
        encoder = MODELS.build(text_encoder) if isinstance(text_encoder, dict) else text_encoder
        if encoder.id is None:
            return cls(list(names), encoder.encode_text(names))
        if synonyms is None and templates is None:
            synonyms = encoder.synonyms
        names, synonyms = list(names), read_synonyms(synonyms)
        templates = resolve_templates(encoder.templates if templates is None else templates)
        prompts = build_prompts(names, templates, synonyms)
        embed = cached_embeddings if getattr(encoder, 'cached', True) else mean_embeddings
        return cls(names, embed(prompts, encoder))

    def check(self, embed_dims: int) -> None:
        """Check that a model of dimension D can use this vocabulary.

        Raises:
            ValueError: If the embeddings are not ``[K, D]``, not floating-point numbers, not finite, or zero.
        """
        shape = tuple(self.embeddings.shape)
        if shape != (len(self.class_names), embed_dims):
            raise ValueError(
                f'vocabulary: embeddings have shape {shape}, but {len(self.class_names)} class names and this model '
                f'need ({len(self.class_names)}, {embed_dims}); use the text encoder that the model was trained with, '
                'or set model.embed_dims to the dimension of the text encoder and train'
            )
        if not self.embeddings.is_floating_point():
            raise ValueError(f'vocabulary: the embeddings must be floating-point numbers, got {self.embeddings.dtype}')
        if not torch.isfinite(self.embeddings).all():
            raise ValueError('vocabulary: the embeddings hold NaN or infinite values')
        embeddings = self.embeddings.detach().cpu().double().numpy()
        bad = find_bad_row(embeddings)
        if bad >= 0:
            raise InputError(
                f'vocabulary: the embedding of {shorten(self.class_names[bad])!r} '
                f'{row_defect(embeddings[bad])}; make it again'
            )


def cached_embeddings(prompts: Sequence[Sequence[str]], encoder: TextEncoder) -> Tensor:
    """Return the normalised mean embedding of each class's prompts, ``[K, D]``, from the cache where possible.

    The cache key covers the model, its weights and the prompts with their class names, templates and synonyms. A cache
    that cannot be written is a warning.

    Args:
        prompts: The prompts of each of K classes, see :func:`~kdeov_mm.text.build_prompts`.
        encoder: A text encoder.
    """
    key = hashlib.sha256(json.dumps([encoder.id, prompts]).encode()).hexdigest()[:32]
    path = cache_dir() / 'text_bank' / f'{key}.safetensors'
    if path.is_file():
        try:
            embeddings = load_file(path)['embeddings']
            intact = (
                embeddings.dtype == torch.float32
                and len(embeddings) == len(prompts)
                and find_bad_row(embeddings.numpy()) < 0
            )
        except Exception:  # a damaged cache file is only a slower start
            intact = False
        if intact:
            return embeddings
        path.unlink(missing_ok=True)
    embeddings = mean_embeddings(prompts, encoder)
    try:
        with atomic_path(path) as partial:
            save_file({'embeddings': embeddings}, partial)
    except (OSError, SafetensorError) as error:  # without the file only the next start is slower
        warnings.warn(
            f'{path}: the class embeddings could not be cached ({error}); '
            'make the folder writable, or set KDEOV_CACHE to another one'
        )
    return embeddings


def mean_embeddings(prompts: Sequence[Sequence[str]], encoder: TextEncoder) -> Tensor:
    """Return the normalised mean embedding of each class's prompts, ``[K, D]``."""
    features = encoder.encode_text([prompt for each in prompts for prompt in each])
    means = torch.stack([part.mean(dim=0) for part in features.split([len(each) for each in prompts])])
    return F.normalize(means, dim=-1)
