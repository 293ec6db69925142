"""Building and using a student with plain PyTorch, without a config file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmyolo
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS
from PIL import Image
from torch import Tensor, nn

from kdeov_mm.models import KDEOV, OpenCLIPTextEncoder
from kdeov_mm.models.clip.class_embeddings import mean_embeddings
from kdeov_mm.models.clip.loading import check_source
from kdeov_mm.text import build_prompts, check_class_names, resolve_templates
from kdeov_mm.utils import load_weights
from kdeov_mm.utils.config import read_config
from kdeov_mm.utils.model_index import index_root
from .sources import open_images

YOLO = dict(  # MMYOLO's configs
    yolov5='yolov5/yolov5_{}-v61_syncbn_fast_8xb16-300e_coco.py',
    yolov8='yolov8/yolov8_{}_syncbn_fast_8xb16-500e_coco.py',
)
BACKBONES = [f'{family}{size}' for family in YOLO for size in 'nsmlx']
FUSIONS = {'film': 'FiLMFusion', 'cross_attention': 'CrossAttentionFusion', None: None}


class ImageTextModel(nn.Module):
    """Combines a student, which embeds images, with CLIP's frozen text encoder, which is in no ``state_dict``.

    Args:
        student: The image encoder.
        clip: An OpenCLIP model name.
        pretrained: Weights of the CLIP, see :func:`build_kdeov`.
        image_size: Side in pixels that images are resized to.
    """

    def __init__(self, student: KDEOV, clip: str, pretrained: str | None, image_size: int) -> None:
        super().__init__()
        self.student, self.clip, self.pretrained, self.image_size = student, clip, pretrained, image_size
        self.text_encoder = OpenCLIPTextEncoder(clip, pretrained)

    @property
    def device(self) -> torch.device:
        """The device of the student."""
        return next(self.parameters()).device

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images; float32, L2-normalised, ``[B, D]``, with gradients.

        Args:
            images: RGB ``[B, 3, H, W]``, uint8 or floating-point in [0, 1].

        Raises:
            ValueError: If the shape is wrong.
        """
        return self.student.encode_image(self.resize(images))

    forward = encode_image

    def resize(self, images: Tensor) -> Tensor:
        """Convert images ``[B, 3, H, W]`` to the student's size and device, with values in [0, 1]."""
        images = to_unit(images).to(self.device)
        size = (self.image_size, self.image_size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode='bilinear', antialias=True).clamp(0, 1)

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> Tensor:
        """Embed texts without templates; float32, L2-normalised, ``[N, D]``."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        return self.text_encoder.encode_text(texts).to(self.device)

    @torch.no_grad()
    def zero_shot_classify(
        self,
        image: Any,
        class_names: Sequence[str],
        templates: str | Sequence[str] = 'single',
        scale: float = 100.0,
    ) -> Tensor:
        """Return the probability of each class name.

        Args:
            image: One image or several: a tensor as for :meth:`encode_image` or ``[3, H, W]``, or
                any input of :func:`~kdeov_mm.apis.sources.open_images`; NumPy arrays are RGB.
            class_names: K class names without duplicates.
            templates: Prompt templates, see ``ClassEmbeddings.build``.
            scale: Logit scale, > 0; 100 as in CLIP.

        Returns:
            Tensor: ``[K]`` for one image, ``[N, K]`` for several; rows sum to 1.

        Raises:
            ValueError: If there are no class names, names are duplicate, or an image cannot be read.
        """
        check_class_names(class_names)
        prompts = build_prompts(class_names, resolve_templates(templates))
        class_embeddings = mean_embeddings(prompts, self.text_encoder).to(self.device)
        single = isinstance(image, (str, Path, Image.Image)) or getattr(image, 'ndim', 4) < 4
        training = self.training
        self.eval()
        try:
            if isinstance(image, Tensor):
                rows = self.encode_image(image[None] if single else image)
            else:
                pixels = [np.array(each.read()) for each in open_images(image)[0]]
                rows = torch.cat([self.encode_image(torch.from_numpy(each).permute(2, 0, 1)[None]) for each in pixels])
        finally:
            self.train(training)
        probabilities = (scale * rows @ class_embeddings.T).softmax(dim=-1)
        return probabilities[0] if single and len(probabilities) == 1 else probabilities


def to_unit(images: Tensor) -> Tensor:
    """Convert images ``[B, 3, H, W]`` to floating-point numbers in [0, 1]; see :meth:`ImageTextModel.encode_image`.

    Raises:
        ValueError: If the shape is wrong.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f'images: expected RGB [B, 3, H, W], got {list(images.shape)}')
    return images / 255 if images.dtype == torch.uint8 else images.float()


def build_kdeov(
    clip: str = 'ViT-B-32',
    backbone: str = 'yolov8n',
    fusion: str | None = 'film',
    pretrained: str | None = None,
    checkpoint: str | None = None,
    image_size: int = 224,
) -> ImageTextModel:
    """Build a student for a CLIP.

    Args:
        clip, backbone, fusion, pretrained: See :func:`student_config`.
        checkpoint: The student's weights, such as those of stage 1; None: random weights from PyTorch's generator.
        image_size: Side in pixels that images are resized to, a multiple of 32.

    Raises:
        ValueError: If a name is unknown, or the checkpoint belongs to another model.
        FileNotFoundError: If a file is missing.

    Examples:
        >>> model = build_kdeov('kdeov-shapes', pretrained='shapes', image_size=64)
        >>> model.zero_shot_classify(torch.zeros(3, 64, 64), ['red circle', 'blue star']).shape
        torch.Size([2])
    """
    if image_size < 32 or image_size % 32:
        raise ValueError(f'image_size: must be a positive multiple of 32, got {image_size}')
    init_default_scope('mmyolo')
    student = MODELS.build(student_config(clip, backbone, fusion, pretrained).model)
    student.init_weights()
    if checkpoint is not None:
        load_weights(student, checkpoint)
    return ImageTextModel(student, clip, pretrained, image_size).eval()


def student_config(
    clip: str = 'ViT-B-32',
    backbone: str = 'yolov8n',
    fusion: str | None = 'film',
    pretrained: str | None = None,
) -> Config:
    """Return the config of stage 1, without a head, for a CLIP; ``dump(file)`` writes it for ``tools/train.py``.

    Args:
        clip: An OpenCLIP model name, such as ``ViT-B-32``; the student gets its dimension D.
        backbone: ``yolov8n``, ``s``, ``m``, ``l`` or ``x``, or the same of ``yolov5``.
        fusion: ``film``, ``cross_attention`` or None. It conditions detection on text. Image embeddings are
            unconditional.
        pretrained: CLIP's weights: an OpenCLIP tag or a local file, as for ``open_clip.create_model``; None: random
            weights.

    Raises:
        ValueError: If a name is unknown.
        FileNotFoundError: If the file of weights is missing.
    """
    check_source(clip, pretrained)
    if backbone not in BACKBONES:
        raise ValueError(f'backbone: must be one of {", ".join(BACKBONES)}, got {backbone!r}')
    if fusion not in FUSIONS:
        raise ValueError(f"fusion: must be 'film', 'cross_attention' or None, got {fusion!r}")
    file = YOLO[backbone[:-1]].format(backbone[-1])
    yolo = read_config(str(Path(mmyolo.__file__).parent / '.mim' / 'configs' / file)).model
    cfg = stage_1()
    model = cfg.model
    model.backbone, model.neck = yolo.backbone, yolo.neck
    for part in (model.fusion, model.projector):
        part.update(in_channels=yolo.neck.in_channels, widen_factor=yolo.neck.widen_factor)
    if fusion is None:
        model.fusion = None
    else:
        model.fusion.type = FUSIONS[fusion]
    model.text_encoder = dict(type='OpenCLIPTextEncoder', model_name=clip, pretrained=pretrained)
    model.embed_dims = clip_dims(clip, pretrained)
    return cfg


def stage_1() -> Config:
    """Return the config of the demo's stage 1, which is part of the package."""
    return read_config(str(index_root() / 'configs' / 'kdeov_yolov8n_pretrain.py'))


def clip_dims(clip: str, pretrained: str | None) -> int:
    """Return the dimension D of an OpenCLIP model's embeddings."""
    known = open_clip.get_model_config(clip) if ':' not in clip else None
    return known['embed_dim'] if known else OpenCLIPTextEncoder(clip, pretrained).encode_text(['']).shape[1]
