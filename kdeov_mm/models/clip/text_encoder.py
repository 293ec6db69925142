"""The frozen text encoder."""

import warnings
from typing import Optional, Sequence

import open_clip
import torch
import torch.nn.functional as F
from mmengine.utils import track_iter_progress
from mmyolo.registry import MODELS
from torch import Tensor

from .loading import check_source, load_open_clip, weights_id
from .vocabulary import shorten


@MODELS.register_module()
class OpenCLIPTextEncoder:
    """Embeds texts with a frozen OpenCLIP model, which is loaded at the first text and not before.

    Args:
        model_name: An OpenCLIP model name, such as ``ViT-B-32``.
        pretrained: An OpenCLIP tag or a local weights file; None gives random weights.
        batch_size: Texts in one forward pass.
    """

    def __init__(self, model_name: str, pretrained: Optional[str] = None, batch_size: int = 256) -> None:
        check_source(model_name, pretrained)
        self.model_name, self.pretrained, self.batch_size = model_name, pretrained, batch_size

    @property
    def id(self) -> str:
        """Identity of model and weights; part of the text bank's cache key."""
        return weights_id(self.model_name, self.pretrained)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts. Of one that is longer than the model reads (77 tokens in CLIP) only the beginning counts, and
        a warning says so.

        Returns:
            Tensor: float32, L2-normalised, ``[N, D]``.
        """
        model = load_open_clip(self.model_name, self.pretrained)
        device = next(model.parameters()).device
        tokenizer = open_clip.get_tokenizer(self.model_name)
        warn_of_long(texts, tokenizer)
        parts = [list(texts[i : i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        batches = track_iter_progress(parts) if len(parts) > 8 else parts
        embeddings = [model.encode_text(tokenizer(batch).to(device)).float().cpu() for batch in batches]
        return F.normalize(torch.cat(embeddings), dim=-1)


def warn_of_long(texts: Sequence[str], tokenizer) -> None:
    """Warn of texts that do not fit into the tokenizer's context."""
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
            f'reads; only their beginning counts. The first: {shorten(long[0])!r}'
        )
