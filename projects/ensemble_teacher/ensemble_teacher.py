"""Several teachers as one."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor

from kdeov_mm.models.clip import identify_teacher
from kdeov_mm.models.clip.text_encoder import Synonyms, Templates
from kdeov_mm.text import read_synonyms, resolve_templates


def combine(embeddings: Sequence[Tensor], mode: str) -> Tensor:
    """Combine several embeddings ``[N, D_i]`` to a normalised one ``[N, D]``.

    ``concat`` puts them side by side, divided by the root of their number: the cosine of two such embeddings is the
    mean of the members' cosines. MobileCLIP (Vasu et al. 2024, "MobileCLIP: fast image-text models through multi-modal
    reinforced training") stores its two CLIP teachers' embeddings so, and averages over the teachers. ``mean`` is the
    normalised mean.
    """
    if mode == 'concat':
        return torch.cat(tuple(embeddings), dim=-1) / len(embeddings) ** 0.5
    return F.normalize(torch.stack(tuple(embeddings)).mean(0), dim=-1)


def check_ensemble(name: str, members: Sequence, mode: str) -> None:
    """Raise ValueError for an unknown mode or no member."""
    if mode not in ('concat', 'mean'):
        raise ValueError(f"mode: must be 'concat' or 'mean', got {mode!r}")
    if not members:
        raise ValueError(f'{name}: an ensemble needs at least one')


@MODELS.register_module()
class EnsembleTeacher:
    """Image teachers as one, see :func:`combine`; :class:`EnsembleTextEncoder` is the texts' side of it.

    Args:
        teachers: Configs of image teachers.
        mode: ``concat``: D is the sum of theirs. ``mean``: they must share one embedding space, as fine-tuned
            descendants of one model do; other models' spaces have nothing in common.

    Raises:
        ValueError: If no teacher, an unknown mode, or ``mean`` of embeddings of several dimensions.
    """

    def __init__(self, teachers: Sequence[dict], mode: str = 'concat') -> None:
        check_ensemble('teachers', teachers, mode)
        self.teachers: list = [MODELS.build(teacher) for teacher in teachers]
        self.mode = mode
        self.name = ' + '.join(teacher.name for teacher in self.teachers)
        dims = [teacher.embed_dims for teacher in self.teachers]
        if mode == 'mean' and len(set(dims)) > 1:
            raise ValueError(
                f"mode='mean' needs embeddings of one dimension, but {self.name} have {dims}; set mode='concat'"
            )
        self.embed_dims = sum(dims) if mode == 'concat' else dims[0]
        self.image_size = max(teacher.image_size for teacher in self.teachers)

    @staticmethod
    def identify(teachers: Sequence[dict], mode: str = 'concat') -> dict:
        """Return what the embeddings depend on, without loading weights."""
        return dict(mode=mode, teachers=[identify_teacher(teacher) for teacher in teachers])

    @property
    def parts(self) -> list:
        """The modules that hold the members' weights and constants."""
        return [part for teacher in self.teachers for part in teacher.parts]

    def to(self, device) -> 'EnsembleTeacher':
        for teacher in self.teachers:
            teacher.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.teachers[0].device

    @property
    def logit_scale(self) -> float:
        """The mean of the members' factors from cosine similarity to logit."""
        return sum(teacher.logit_scale for teacher in self.teachers) / len(self.teachers)

    @property
    def num_bytes(self) -> int:
        """Memory of all weights."""
        return sum(teacher.num_bytes for teacher in self.teachers)

    def encode_image(self, images) -> Tensor:
        """Embed whole images, see ``OpenCLIPTeacher``; float32, L2-normalised, ``[B, D]``."""
        return self._combine(lambda teacher: teacher.encode_image(images))

    def encode_regions(self, images: Tensor, boxes: Sequence[Tensor], context: float = 1.2) -> Tensor:
        """Embed regions, see ``OpenCLIPTeacher``; float32, L2-normalised, ``[sum n_i, D]``."""
        return self._combine(lambda teacher: teacher.encode_regions(images, boxes, context))

    def _combine(self, encode: Callable) -> Tensor:
        return combine([encode(teacher) for teacher in self.teachers], self.mode)


@MODELS.register_module()
class EnsembleTextEncoder:
    """Text encoders as one, to go with an :class:`EnsembleTeacher` of the same models in the same order.

    Args:
        encoders: Configs of text encoders; their own templates and synonyms do not count.
        mode: That of the EnsembleTeacher.
        templates, synonyms: See :class:`OpenCLIPTextEncoder`.

    Raises:
        ValueError: If there is no encoder, or the mode is unknown.
    """

    def __init__(
        self,
        encoders: Sequence[dict],
        mode: str = 'concat',
        templates: Templates = 'single',
        synonyms: Synonyms = None,
    ) -> None:
        check_ensemble('encoders', encoders, mode)
        self.encoders, self.mode = [MODELS.build(encoder) for encoder in encoders], mode
        self.templates, self.synonyms = resolve_templates(templates), read_synonyms(synonyms)

    @property
    def teacher(self) -> dict:
        """Config of the image teacher that shares this encoder's space."""
        return dict(type='EnsembleTeacher', teachers=[encoder.teacher for encoder in self.encoders], mode=self.mode)

    @property
    def id(self) -> str:
        """The fingerprint of models and weights, a part of the cache key of class embeddings."""
        return f'{self.mode}({", ".join(str(encoder.id) for encoder in self.encoders)})'

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts; float32, L2-normalised, ``[N, D]``."""
        return combine([encoder.encode_text(texts) for encoder in self.encoders], self.mode)
