"""The frozen text encoders: an OpenCLIP model, or a file of ready embeddings."""
import json
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from mmengine.utils import track_iter_progress
from mmyolo.registry import MODELS
from torch import Tensor

from .loading import check_source, load_open_clip, weights_id


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
        """Embed texts.

        Returns:
            Tensor: float32, L2-normalised, ``[N, D]``.
        """
        model = load_open_clip(self.model_name, self.pretrained)
        device = next(model.parameters()).device
        tokenizer = open_clip.get_tokenizer(self.model_name)
        parts = [list(texts[i:i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        batches = track_iter_progress(parts) if len(parts) > 8 else parts
        embeddings = [model.encode_text(tokenizer(batch).to(device)).float().cpu() for batch in batches]
        return F.normalize(torch.cat(embeddings), dim=-1)

    def encode_names(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Embed class names as CLIP does: over the templates averaged, then normalised again.

        Prompt ensembling of Radford et al. 2021, "Learning transferable visual models from natural language
        supervision", section 3.1.4.

        Returns:
            Tensor: float32, L2-normalised, ``[K, D]``.
        """
        prompts = [template.format(name) for name in names for template in templates]
        embeddings = self.encode_text(prompts).view(len(names), len(templates), -1)
        return F.normalize(embeddings.mean(dim=1), dim=-1)


@MODELS.register_module()
class PrecomputedTextEncoder:
    """Looks class names up in a file of ready embeddings, so that no CLIP weights are needed.

    Args:
        embeddings: A ``.npy`` file with one row for each name, ``[N, D]``.
        names: The names in row order: a list, or a JSON file that holds a list of names or of category records
            with a ``name`` field, or that is a COCO annotation file.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The array is not ``[N, D]`` and finite, or N is not the number of names.
    """

    def __init__(self, embeddings: str, names) -> None:
        for path in [embeddings] + ([names] if isinstance(names, str) else []):
            if not Path(path).is_file():
                raise FileNotFoundError(f'PrecomputedTextEncoder: no file {path!r}')
        if isinstance(names, str):
            with open(names) as file:
                names = json.load(file)
            names = names['categories'] if isinstance(names, dict) else names
            names = [n['name'] if isinstance(n, dict) else n for n in names]
        table = np.load(embeddings, allow_pickle=False).astype(np.float32)
        if table.ndim != 2 or len(table) != len(names):
            raise ValueError(f'embeddings: {embeddings!r} has shape {table.shape}, but there are {len(names)} names; '
                             'give one row for each name')
        if not np.isfinite(table).all():
            raise ValueError(f'embeddings: {embeddings!r} holds NaN or infinite values')
        self.table = F.normalize(torch.from_numpy(table), dim=-1)
        self.rows = {name: row for row, name in enumerate(names)}

    @property
    def id(self) -> None:
        """None: there is nothing to cache."""
        return None

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Look texts up; float32, L2-normalised, ``[N, D]``."""
        missing: List[str] = [text for text in texts if text not in self.rows]
        if missing:
            raise ValueError(f'names: no embedding for {missing[:5]!r} ({len(missing)} of {len(texts)}); '
                             'the file holds names such as ' + ', '.join(list(self.rows)[:3]))
        return self.table[[self.rows[text] for text in texts]]

    def encode_names(self, names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """The ready embeddings of the names; the templates are already in them."""
        return self.encode_text(names)
