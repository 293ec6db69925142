"""The teacher as a model of its own, so that it can be tested."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmyolo.registry import MODELS
from torch import Tensor, nn

from kdeov_mm.models.clip import ClassEmbeddings, Competitors
from kdeov_mm.models.embedding_space import EmbeddingSpaceMixin
from kdeov_mm.text import Lexicon


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
        lexicon, background, image_background: What competes with a class name, see ``KDEOV``. With ``background`` and a
            vocabulary, data samples get ``presence``: how likely the whole image shows each class.
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
        lexicon: str | Sequence[str] | None = None,
        background: float | None = None,
        image_background: float | None = None,
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
        self.lexicon = Lexicon.read(lexicon)
        self.background = background if image_background is None else image_background
        self.class_embeddings = torch.zeros(0, self.embed_dims)
        self.competitors: Competitors | None = None
        # Not used: DDP needs a parameter that requires a gradient.
        self.scale = nn.Parameter(torch.tensor(self.teacher.logit_scale))

    @property
    def embed_dims(self) -> int:
        """The dimension D of the embeddings."""
        return self.teacher.embed_dims

    def set_vocabulary(self, vocabulary: ClassEmbeddings, closed: bool = False) -> None:
        """Set the classes whose presence is asked; none with ``closed`` or without ``background``."""
        vocabulary.check(self.embed_dims)
        self.class_embeddings, self.competitors = vocabulary.embeddings, None
        if self.background is None or closed:
            return
        none = ClassEmbeddings([], torch.zeros(0, self.embed_dims))
        lexicon = ClassEmbeddings.build(self.lexicon.entries, self.text_encoder) if self.lexicon else none
        competes = self.lexicon.competes(vocabulary.class_names)
        self.competitors = Competitors.build(competes, lexicon, none, self.background)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed RGB images in [0, 1], ``[B, 3, H, W]``; float32, L2-normalised, ``[B, D]``."""
        return self.teacher.encode_image(images)

    def forward(
        self, inputs: Tensor, data_samples: list[DetDataSample] | None = None, mode: str = 'tensor'
    ) -> list[DetDataSample] | Tensor:
        """Embed images; with ``mode='predict'`` fill ``image_embedding``, and perhaps ``presence``.

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
        if self.competitors is not None:
            presence = self.competitors.image_presence(embeddings, self.class_embeddings, self.teacher.logit_scale)
            for sample, scores in zip(data_samples, presence):
                sample.presence = scores
        return data_samples
