"""The student for people who come from plain PyTorch: built, trained and used without a config file."""

from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS
from PIL import Image
from torch import Tensor, nn

from kdeov_mm.models import KDEOV, OpenCLIPTeacher, OpenCLIPTextEncoder
from kdeov_mm.models.clip.loading import check_source
from kdeov_mm.text import check_class_names, fill, resolve_templates
from kdeov_mm.utils import load_weights
from kdeov_mm.utils.config import read_config
from kdeov_mm.utils.model_index import index_root
from .sources import open_images

# MMYOLO's own configs: deepen_factor, widen_factor, channels of the last stage.
YOLOV8 = dict(n=(0.33, 0.25, 1024), s=(0.33, 0.5, 1024), m=(0.67, 0.75, 768), l=(1.0, 1.0, 512), x=(1.0, 1.25, 512))
YOLOV5 = dict(n=(0.33, 0.25, 1024), s=(0.33, 0.5, 1024), m=(0.67, 0.75, 1024), l=(1.0, 1.0, 1024), x=(1.33, 1.25, 1024))
BACKBONES = {
    f'{family}{size}': (family, *numbers)
    for family, sizes in (('yolov5', YOLOV5), ('yolov8', YOLOV8))
    for size, numbers in sizes.items()
}
FUSIONS = {'film': 'FiLMFusion', 'cross_attention': 'CrossAttentionFusion', None: None}


class ImageTextModel(nn.Module):
    """A student that embeds images, and CLIP's text encoder beside it, which is frozen and in no ``state_dict``.

    Args:
        student: Embeds images.
        clip: An OpenCLIP model name.
        pretrained: Its weights, see :func:`build_kdeov`.
        image_size: Side in pixels that images are resized to.
    """

    def __init__(self, student: KDEOV, clip: str, pretrained: Optional[str], image_size: int) -> None:
        super().__init__()
        self.student, self.clip, self.pretrained, self.image_size = student, clip, pretrained, image_size
        self.text_encoder = OpenCLIPTextEncoder(clip, pretrained)

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        return next(self.parameters()).device

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images; float32, L2-normalised, ``[B, D]``, with gradients.

        Args:
            images: RGB ``[B, 3, H, W]``, uint8 or floating-point in [0, 1].

        Raises:
            ValueError: Another shape.
        """
        return self.student.encode_image(self.resize(images))

    forward = encode_image

    def resize(self, images: Tensor) -> Tensor:
        """Bring images to the student's size and device, and to [0, 1]."""
        images = to_unit(images).to(self.device)
        size = (self.image_size, self.image_size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size, mode='bilinear', antialias=True).clamp(0, 1)

    @torch.no_grad()
    def encode_text(self, texts: Union[str, Sequence[str]]) -> Tensor:
        """Embed texts as they are; float32, L2-normalised, ``[N, D]``."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        return self.text_encoder.encode_text(texts).to(self.device)

    @torch.no_grad()
    def zero_shot_classify(
        self,
        image: Any,
        class_names: Sequence[str],
        templates: Union[str, Sequence[str]] = 'single',
        scale: float = 100.0,
    ) -> Tensor:
        """The probability of each name.

        Args:
            image: One image or several: a tensor as for :meth:`encode_image` or ``[3, H, W]``, or whatever
                :func:`~kdeov_mm.apis.sources.open_images` takes; NumPy arrays are RGB.
            class_names: K distinct names.
            templates: Prompt templates, see ``TextBank.build``.
            scale: Factor from cosine similarity to logit; 100 as in CLIP.

        Returns:
            Tensor: ``[K]`` for one image, ``[N, K]`` for several; rows sum to 1.

        Raises:
            ValueError: The names are empty or not distinct, or the image is none.
        """
        check_class_names(class_names)
        templates = resolve_templates(templates)
        prompts = self.encode_text([fill(template, name) for name in class_names for template in templates])
        texts = F.normalize(prompts.view(len(class_names), len(templates), -1).mean(dim=1), dim=-1)
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
        shares = (scale * rows @ texts.T).softmax(dim=-1)
        return shares[0] if single and len(shares) == 1 else shares


def to_unit(images: Tensor) -> Tensor:
    """Images as floating-point numbers in [0, 1]; see :meth:`ImageTextModel.encode_image`."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f'images: expected RGB [B, 3, H, W], got {list(images.shape)}')
    return images / 255 if images.dtype == torch.uint8 else images.float()


def build_kdeov(
    clip: str = 'ViT-B-32',
    backbone: str = 'yolov8n',
    fusion: Optional[str] = 'film',
    pretrained: Optional[str] = None,
    checkpoint: Optional[str] = None,
    image_size: int = 224,
) -> ImageTextModel:
    """Build a student for a CLIP.

    Args:
        clip: An OpenCLIP model name, such as ``ViT-B-32``; its dimension D is the student's.
        backbone: ``yolov8n``, ``s``, ``m``, ``l`` or ``x``, or the same of ``yolov5``.
        fusion: ``film``, ``cross_attention`` or None. It guides detection by text; image embeddings never depend on it.
        pretrained: CLIP's weights: an OpenCLIP tag or a local file, as for ``open_clip.create_model``; None gives
            random ones.
        checkpoint: The student's weights, such as those of stage 1; None gives random ones, from PyTorch's generator.
        image_size: Side in pixels that images are resized to, a multiple of 32.

    Raises:
        ValueError: An unknown name, or the checkpoint is another model's.
        FileNotFoundError: A file is missing.

    Examples:
        >>> model = build_kdeov('kdeov-shapes', pretrained='shapes', image_size=64)
        >>> model.zero_shot_classify(torch.zeros(3, 64, 64), ['red circle', 'blue star']).shape
        torch.Size([2])
    """
    check_source(clip, pretrained)
    if backbone not in BACKBONES:
        raise ValueError(f'backbone: must be one of {", ".join(BACKBONES)}, got {backbone!r}')
    if fusion not in FUSIONS:
        raise ValueError(f"fusion: must be 'film', 'cross_attention' or None, got {fusion!r}")
    if image_size < 32 or image_size % 32:
        raise ValueError(f'image_size: must be a positive multiple of 32, got {image_size}')
    init_default_scope('mmyolo')
    student = MODELS.build(student_config(backbone, FUSIONS[fusion], clip_dims(clip, pretrained)))
    student.init_weights()
    if checkpoint is not None:
        load_weights(student, checkpoint)
    return ImageTextModel(student, clip, pretrained, image_size).eval()


def clip_dims(clip: str, pretrained: Optional[str]) -> int:
    """The dimension D of an OpenCLIP model's embeddings."""
    known = open_clip.get_model_config(clip) if ':' not in clip else None
    return known['embed_dim'] if known else OpenCLIPTextEncoder(clip, pretrained).encode_text(['']).shape[1]


def packaged_config(name: str) -> Config:
    """A config that comes with the package."""
    return read_config(str(index_root() / 'configs' / name))


def student_config(backbone: str, fusion: Optional[str], embed_dims: int) -> Config:
    """The demo's model without its head, with another backbone, fusion and dimension."""
    model = packaged_config('_base_/kdeov_yolov8n_model.py').model
    family, deepen, widen, last = BACKBONES[backbone]
    channels = [256, 512, last]
    model.bbox_head, model.text_dropout = None, 1.0
    for part in (model.backbone, model.neck, model.fusion, model.projector):
        part.widen_factor = widen
    for part in (model.neck, model.fusion, model.projector):
        part.in_channels = channels
    model.neck.out_channels = channels
    model.backbone.deepen_factor = model.neck.deepen_factor = deepen
    if family == 'yolov5':
        model.backbone.type, model.neck.type = 'YOLOv5CSPDarknet', 'YOLOv5PAFPN'
        model.backbone.pop('last_stage_out_channels')
    else:
        model.backbone.last_stage_out_channels = last
    model.embed_dims = embed_dims
    if fusion is None:
        model.fusion = None
    else:
        model.fusion.type = fusion
    return model


def fit_alignment(
    model: ImageTextModel, dataloader: Iterable[Tuple[Tensor, Sequence[str]]], epochs: int, lr: float = 1e-3
) -> List[Dict[str, float]]:
    """Train a student to embed images as its CLIP does, and near their captions.

    The losses are those of the demo's config; the texts that student and teacher are compared over are the batch's
    captions. The optimizer is the demo's, at a constant learning rate. Seed PyTorch for repeatable results.

    Args:
        model: Of :func:`build_kdeov`; trained in place, on its device.
        dataloader: Gives batches of images, RGB ``[B, 3, H, W]`` with B > 1, uint8 or floating-point in [0, 1], and B
            captions.
        epochs: Passes over the data.
        lr: Learning rate of AdamW.

    Returns:
        list: For each epoch the means over its steps of ``loss`` (their sum) and of each ``loss_*``, and of the
        cosine to the teacher, ``teacher_cosine``.

    Raises:
        ValueError: An argument is out of range, the data are empty, or a batch has one image only or another number
            of captions than images.
    """
    if epochs < 1 or not lr > 0:
        raise ValueError(f'epochs and lr: must be at least 1 and greater than 0, got {epochs} and {lr}')
    teacher = OpenCLIPTeacher(model.clip, model.pretrained).to(model.device)
    wrapper = packaged_config('kdeov_yolov8n.py').optim_wrapper
    wrapper.optimizer.lr = lr
    optimizer = build_optim_wrapper(model.student, wrapper)
    loss = model.student.loss_image
    if loss is None:
        raise ValueError('model: its student has no loss_image; take one of build_kdeov')
    model.train()
    history = []
    for _ in range(epochs):
        steps = [fit_step(model, teacher, loss, optimizer, images, captions) for images, captions in dataloader]
        if not steps:
            raise ValueError('dataloader: it gave no batch')
        history.append({name: float(np.mean([step[name] for step in steps])) for name in steps[0]})
    model.eval()
    return history


def fit_step(
    model: ImageTextModel,
    teacher: OpenCLIPTeacher,
    loss: nn.Module,
    optimizer: Any,
    images: Tensor,
    captions: Sequence[str],
) -> Dict[str, float]:
    """One step of :func:`fit_alignment`."""
    if len(images) != len(captions) or len(images) < 2:
        raise ValueError(
            f'dataloader: a batch needs at least two images and a caption for each, got {len(images)} '
            f'images and {len(captions)} captions; set drop_last=True?'
        )
    images = to_unit(images).to(model.device)
    distinct = list(dict.fromkeys(captions))
    texts = model.encode_text(distinct)
    rows = [texts[distinct.index(caption)] for caption in captions]
    losses = loss(model.encode_image(images), texts, list(teacher.encode_image(images)), rows)
    total, logged = model.student.parse_losses(losses)
    optimizer.update_params(total)
    return {name: float(value.detach()) for name, value in logged.items()}
