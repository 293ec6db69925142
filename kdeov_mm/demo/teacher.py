"""The frozen teacher of a training, to stand beside its student."""

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS

from kdeov_mm.models import build_text_encoder
from kdeov_mm.utils import InputError, load_config


class Teacher:
    """Names images and regions as the teacher of a config does, zero-shot.

    Args:
        config: A training's config; the teacher is the image tower of its model's CLIP.
        text_space: The space of the text embeddings that it will be given; None: not known.

    Raises:
        ValueError: If the config's model has no CLIP, or one of another space.
        FileNotFoundError: A file is missing.
    """

    def __init__(self, config: str, text_space: str = None) -> None:
        cfg = load_config(config)
        init_default_scope(cfg.get('default_scope', 'mmyolo'))
        encoder = build_text_encoder(cfg)
        space = encoder.id
        if encoder.teacher is None:
            raise InputError(f'--teacher {config}: its model has ready embeddings only, and no CLIP to show')
        if text_space and space != text_space:
            raise InputError(
                f'--teacher {config}: its teacher is of the space {space}, but the exported text encoder '
                f'of {text_space}; give the config that the files were exported with'
            )
        self.model = MODELS.build(encoder.teacher)

    @torch.no_grad()
    def encode_image(self, image: np.ndarray) -> np.ndarray:
        """Embed an image, uint8 RGB ``[H, W, 3]``: float32, L2-normalised, ``[1, D]``."""
        return self.model.encode_image(as_batch(image)).numpy()

    @torch.no_grad()
    def encode_regions(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Embed what is in boxes, xyxy in pixels ``[M, 4]``: float32, L2-normalised, ``[M, D]``."""
        return self.model.encode_regions(as_batch(image), [torch.from_numpy(boxes)]).numpy()


def as_batch(image: np.ndarray) -> torch.Tensor:
    """RGB in [0, 1], ``[1, 3, H, W]``."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
