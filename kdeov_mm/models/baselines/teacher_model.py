"""The teacher as a model of its own, so that it can be tested."""

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmyolo.registry import MODELS
from torch import Tensor, nn

from kdeov_mm.models.embedding_space import EmbeddingSpaceMixin


@MODELS.register_module()
class TeacherModel(EmbeddingSpaceMixin, BaseModel):
    """Evaluates a frozen image teacher, such as the full CLIP, with the student's metrics.

    The config names the weights, so ``tools/test.py`` needs no checkpoint. With ``OpenCLIPResize`` in the pipeline, its
    embeddings equal OpenCLIP's up to rounding.

    Args:
        text_encoder: Config of the text encoder that shares the teacher's space.
        teacher: Config of an image teacher such as ``OpenCLIPTeacher``; None: the image tower of the text
            encoder's CLIP.
        embed_dims: Dimension D that the embeddings must have; None: any.
        data_preprocessor: Gives RGB in [0, 1]; the teacher's own preprocessing follows.

    Raises:
        ValueError: If the teacher's dimension differs from ``embed_dims``.
    """

    brings_weights = True

    def __init__(
        self,
        text_encoder: dict | None = None,
        teacher: dict | None = None,
        embed_dims: int | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.text_encoder_cfg = text_encoder
        self.teacher = MODELS.build(teacher or self.text_encoder.teacher)
        if embed_dims not in (None, self.teacher.embed_dims):
            raise ValueError(
                f'model.embed_dims: {embed_dims}, but {self.teacher.name} gives {self.teacher.embed_dims} dimensions; '
                'set the dimension of the CLIP in the config'
            )
        self.parts = nn.ModuleList(self.teacher.parts)  # modules, so that they move between devices
        # Not used: DDP needs a parameter that requires a gradient.
        self.scale = nn.Parameter(torch.tensor(self.teacher.logit_scale))

    @property
    def embed_dims(self) -> int:
        """The dimension D of the embeddings."""
        return self.teacher.embed_dims

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed RGB images in [0, 1], ``[B, 3, H, W]``; float32, L2-normalised, ``[B, D]``."""
        return self.teacher.encode_image(images)

    def forward(
        self, inputs: Tensor, data_samples: list[DetDataSample] | None = None, mode: str = 'tensor'
    ) -> list[DetDataSample] | Tensor:
        """Embed images; with ``mode='predict'`` fill ``image_embedding`` of the data samples.

        Raises:
            ValueError: If ``mode`` is ``'loss'``: a teacher is not trained.
        """
        if mode == 'loss':
            raise ValueError('TeacherModel: a frozen teacher cannot be trained; test it with tools/test.py')
        embeddings = self.encode_image(inputs)
        if mode == 'tensor':
            return embeddings
        for sample, embedding in zip(data_samples, embeddings):
            sample.image_embedding = embedding
        return data_samples
