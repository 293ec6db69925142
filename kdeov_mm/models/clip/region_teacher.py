"""Embeddings and objectness of image regions from a frozen teacher."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .teacher import OpenCLIPTeacher
from .class_embeddings import ClassEmbeddings

BACKGROUND_PROMPTS = ('an empty background', 'nothing but a background')


class RegionTeacher:
    """Embeds regions, and estimates whether a region shows an object or only background.

    Args:
        teacher: The frozen image teacher.
        class_embeddings: Class embeddings of the training vocabulary ``[K, D]``.
        background: Embeddings of texts that describe a region without an object.
    """

    def __init__(self, teacher: OpenCLIPTeacher, class_embeddings: Tensor, background: ClassEmbeddings) -> None:
        self.teacher, self.num_classes = teacher, len(class_embeddings)
        self.class_embeddings = torch.cat([class_embeddings, background.embeddings.to(class_embeddings)])

    @torch.no_grad()
    def __call__(self, images: Tensor, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embed regions and estimate their objectness.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``.
            boxes: For each image ``[n_i, 4]``, xyxy in pixels of ``images``.

        Returns:
            tuple: Embeddings ``[sum n_i, D]``; probabilities ``[sum n_i]`` that a region shows any object, the
            softmax over the teacher's similarities to the vocabulary and to the background texts.
        """
        embeddings = self.teacher.encode_regions(images, boxes)
        probability = (self.teacher.logit_scale * embeddings @ self.class_embeddings.T).softmax(-1)
        return embeddings, probability[:, : self.num_classes].sum(-1)
