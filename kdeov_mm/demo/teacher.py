"""The teacher of a training, for comparison with its student."""

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS

from kdeov_mm.models import build_text_encoder
from kdeov_mm.utils import InputError, load_config


class Teacher:
    """Embeds images and regions with the teacher of a config.

    Args:
        config: Training config; the teacher is the image tower of its model's CLIP.
        text_space: Embedding space of the text features to compare with; None: unknown.

    Raises:
        ValueError: If the config's model has no CLIP, or one with another embedding space.
        FileNotFoundError: If a file is missing.
    """

    def __init__(self, config: str, text_space: str | None = None) -> None:
        cfg = load_config(config)
        init_default_scope(cfg.get('default_scope', 'mmyolo'))
        encoder = build_text_encoder(cfg.model)
        space = encoder.id
        if encoder.teacher is None:
            raise InputError(f'--teacher {config}: its model has only precomputed embeddings and no CLIP')
        if text_space and space != text_space:
            raise InputError(
                f'--teacher {config}: its teacher has the embedding space {space}, but the exported text encoder '
                f'has {text_space}; give the config that the files were exported with'
            )
        self.model = MODELS.build(encoder.teacher)

    @torch.no_grad()
    def encode_image(self, image: np.ndarray) -> np.ndarray:
        """Embed an image, uint8 RGB ``[H, W, 3]``: float32, L2-normalised, ``[1, D]``."""
        return self.model.encode_image(as_batch(image)).numpy()

    @torch.no_grad()
    def encode_regions(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Embed the regions in boxes, xyxy in pixels ``[M, 4]``: float32, L2-normalised, ``[M, D]``."""
        return self.model.encode_regions(as_batch(image), [torch.from_numpy(boxes)]).numpy()


def as_batch(image: np.ndarray) -> torch.Tensor:
    """Convert an image to a batch, RGB in [0, 1], ``[1, 3, H, W]``."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
