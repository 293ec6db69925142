"""A frozen CLIP text encoder."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import open_clip
import torch
import torch.nn.functional as F
from mmengine.utils import track_iter_progress
from mmyolo.registry import MODELS
from torch import Tensor

from kdeov_mm.text import read_synonyms, resolve_templates
from kdeov_mm.utils import InputError
from kdeov_mm.utils.display import shorten
from .loading import check_source, load_open_clip, weights_id

Templates = str | Sequence[str]
Synonyms = str | Mapping[str, Sequence[str]] | None


@runtime_checkable
class TextEncoder(Protocol):
    """What a model's text encoder offers; :class:`~kdeov_mm.models.clip.ClassEmbeddings` embeds class names with it.

    Attributes:
        cached: Whether class embeddings may be kept on disk; an encoder without this attribute allows it.
    """

    @property
    def templates(self) -> Templates:
        """Prompt templates of class names, see ``ClassEmbeddings.build``."""

    @property
    def synonyms(self) -> Synonyms:
        """Synonyms of class names, see ``ClassEmbeddings.build``."""

    @property
    def teacher(self) -> dict | None:
        """Config of the image teacher that shares this encoder's space; None: unknown."""

    @property
    def id(self) -> str | None:
        """The fingerprint of model and weights; None: it takes class names as they are, without templates."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed N texts; float32, L2-normalised, ``[N, D]``, on the CPU."""


@MODELS.register_module()
class OpenCLIPTextEncoder:
    """Embeds texts with a frozen OpenCLIP model, which is loaded when the first text is embedded.

    Args:
        model_name: An OpenCLIP model name, such as ``ViT-B-32``.
        pretrained: An OpenCLIP tag or a local weights file; None gives random weights.
        templates: Prompt templates of class names, see ``ClassEmbeddings.build``.
        synonyms: Synonyms of class names, see ``ClassEmbeddings.build``.
        batch_size: Texts in one forward pass.

    Raises:
        ValueError: If the model, its tag, a template or a synonym is invalid.
        FileNotFoundError: If a file of weights, templates or synonyms does not exist.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: str | None = None,
        templates: Templates = 'single',
        synonyms: Synonyms = None,
        batch_size: int = 256,
    ) -> None:
        check_source(model_name, pretrained)
        self.model_name, self.pretrained, self.batch_size = model_name, pretrained, batch_size
        self.templates, self.synonyms = resolve_templates(templates), read_synonyms(synonyms)

    @property
    def teacher(self) -> dict:
        """Config of the image teacher that shares this encoder's space."""
        return dict(type='OpenCLIPTeacher', model_name=self.model_name, pretrained=self.pretrained)

    @property
    def id(self) -> str:
        """The fingerprint of model and weights, a part of the cache key of class embeddings."""
        return weights_id(self.model_name, self.pretrained)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts.

        A text that is longer than the model's context (77 tokens in CLIP) is truncated, with a warning.

        Returns:
            Tensor: float32, L2-normalised, ``[N, D]``.
        """
        model = load_open_clip(self.model_name, self.pretrained)
        device = next(model.parameters()).device
        tokenizer = open_clip.get_tokenizer(self.model_name)
        warn_if_truncated(texts, tokenizer)
        parts = [list(texts[i : i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        batches = track_iter_progress(parts) if len(parts) > 8 else parts
        embeddings = [model.encode_text(tokenizer(batch).to(device)).float().cpu() for batch in batches]
        return F.normalize(torch.cat(embeddings), dim=-1)


def build_text_encoder(model: Mapping) -> TextEncoder:
    """Build the text encoder of a model from the model's config.

    Raises:
        InputError: If the model has no text encoder, or its arguments are wrong.
        FileNotFoundError: If a file of weights, templates or synonyms does not exist.
    """
    if not model.get('text_encoder'):
        raise InputError(
            f'model.text_encoder: {model["type"]} has none, but class names must be embedded; set '
            "model.text_encoder=dict(type='OpenCLIPTextEncoder', ...) in the config, or give ready embeddings"
        )
    return MODELS.build(model['text_encoder'])


def warn_if_truncated(texts: Sequence[str], tokenizer) -> None:
    """Warn if texts do not fit into the tokenizer's context."""
    context = tokenizer.context_length
    padding = tokenizer([''], context_length=context + 1)[0, -1]
    long = [
        text
        for text in texts
        if len(text.encode()) + 2 > context  # a token is a byte or more
        and tokenizer([text], context_length=context + 1)[0, -1] != padding
    ]
    if long:
        warnings.warn(
            f'{len(long)} of {len(texts)} texts are longer than the {context} tokens that the text encoder '
            f'reads, and are truncated. The first: {shorten(long[0])!r}'
        )
