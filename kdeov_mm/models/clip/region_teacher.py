"""What the frozen teacher says of regions of images."""

from typing import Sequence, Tuple

import torch
from torch import Tensor

from .teacher import OpenCLIPTeacher
from .text_bank import TextBank

BACKGROUND_PROMPTS = ('an empty background', 'nothing but a background')


class RegionTeacher:
    """Embeds regions, and tells objects from background by the texts that they resemble.

    Args:
        teacher: The frozen image teacher.
        texts: Embeddings of the training vocabulary ``[K, D]``.
        background: Texts that describe a region without an object.
    """

    def __init__(self, teacher: OpenCLIPTeacher, texts: Tensor, background: TextBank) -> None:
        self.teacher, self.num_names = teacher, len(texts)
        self.texts = torch.cat([texts, background.embeddings.to(texts)])

    @torch.no_grad()
    def __call__(self, images: Tensor, boxes: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Look at regions.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``.
            boxes: For each image ``[n_i, 4]``, xyxy in pixels of ``images``.

        Returns:
            tuple: Embeddings ``[sum n_i, D]``; probabilities ``[sum n_i]`` that a region shows any object, the
            softmax over the teacher's similarities to the vocabulary and to the background texts.
        """
        embeddings = self.teacher.encode_regions(images, boxes)
        probability = (self.teacher.logit_scale * embeddings @ self.texts.T).softmax(-1)
        return embeddings, probability[:, : self.num_names].sum(-1)
