"""A frozen CLIP image encoder as the teacher."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor
from torchvision.ops import roi_align

from .loading import load_open_clip, weights_id
from .preprocess import Preprocess, find_preprocess

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


@MODELS.register_module()
class OpenCLIPTeacher:
    """Embeds images, and regions of images, with a frozen OpenCLIP model.

    It is deliberately no ``nn.Module``, so a student that holds it does not save, train or broadcast it.

    Args:
        model_name: An OpenCLIP model name, such as ``ViT-B-32``.
        pretrained: An OpenCLIP tag or a local weights file; None gives random weights.
        batch_size: Maximum number of images in one forward pass.
        preprocess: Changes to the preprocessing of the weights, see
            :func:`~kdeov_mm.models.clip.preprocess.find_preprocess`. ``dict(resize_mode='squash')`` shows the teacher
            all of an oblong image; most models crop its centre.
        dtype: ``fp32``, ``bf16`` or ``fp16``: the model's precision, by autocast, independent of the student's.

    Raises:
        ValueError: If the dtype, preprocessing, model or tag is unknown, or a file does not hold weights of this model.
        FileNotFoundError: If ``pretrained`` is a path without a file.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: str | None = None,
        batch_size: int = 256,
        preprocess: dict | None = None,
        dtype: str = 'fp32',
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f'dtype: must be one of {", ".join(DTYPES)}, got {dtype!r}')
        self.model = load_open_clip(model_name, pretrained)
        self.name = model_name
        self.batch_size = batch_size
        self.dtype = DTYPES[dtype]
        self.preprocess = Preprocess(find_preprocess(model_name, pretrained, preprocess))
        self.image_size = self.preprocess.size

    @staticmethod
    def identify(
        model_name: str,
        pretrained: str | None = None,
        batch_size: int = 256,
        preprocess: dict | None = None,
        dtype: str = 'fp32',
    ) -> dict:
        """Return what the embeddings of a teacher with these arguments depend on, without loading weights.

        It is stored with the embeddings, so that those of another teacher are refused.
        """
        return dict(
            weights=weights_id(model_name, pretrained),
            dtype=dtype,
            preprocess=asdict(find_preprocess(model_name, pretrained, preprocess)),
        )

    @property
    def parts(self) -> list:
        """The modules that hold the weights and constants."""
        return [self.model, self.preprocess]

    def to(self, device: str | torch.device) -> 'OpenCLIPTeacher':
        """Move the model to a device, as ``nn.Module.to`` does."""
        self.model.to(device)
        self.preprocess.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the teacher."""
        return self.preprocess.mean.device

    @cached_property
    def embed_dims(self) -> int:
        """The dimension D of the embeddings."""
        return self._embed(torch.zeros(1, 3, *self.image_size, device=self.device)).shape[-1]

    @property
    def logit_scale(self) -> float:
        """The logit scale, exp of CLIP's learnt parameter."""
        return float(self.model.logit_scale.exp())

    @property
    def num_bytes(self) -> int:
        """Memory of the weights, those of the text tower included."""
        return sum(tensor.nbytes for tensor in (*self.model.parameters(), *self.model.buffers()))

    @torch.no_grad()
    def encode_image(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Embed whole images, each preprocessed as in the teacher's training.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]`` or B images ``[3, H, W]`` of any sizes.

        Returns:
            Tensor: float32, L2-normalised, ``[B, D]``.
        """
        if len({tuple(image.shape) for image in images}) > 1:
            return self._embed(torch.cat([self.preprocess.fit(image[None]) for image in images]))
        if not isinstance(images, Tensor):
            images = torch.stack(tuple(images))
        return self._embed(self.preprocess.fit(images))

    @torch.no_grad()
    def encode_regions(self, images: Tensor, boxes: Sequence[Tensor], context: float = 1.2) -> Tensor:
        """Embed regions: each box, enlarged by ``context``, is cut out and resized to the teacher's input.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]``.
            boxes: For each image ``[n_i, 4]``, xyxy in pixels of ``images``.
            context: Ratio of the crop's side to the box's longer side; the crop is square, as CLIP expects.

        Returns:
            Tensor: float32, L2-normalised, ``[sum n_i, D]``, image by image.
        """
        crops = []
        for box in boxes:
            centre = (box[:, :2] + box[:, 2:]) / 2
            half = (box[:, 2:] - box[:, :2]).amax(dim=1, keepdim=True) * context / 2
            crops.append(torch.cat([centre - half, centre + half], dim=1).to(images))
        return self._embed(roi_align(images, crops, self.image_size, sampling_ratio=2, aligned=True))

    def _embed(self, images: Tensor) -> Tensor:
        """Embed images that have the size of the teacher's input."""
        if not len(images):
            return images.new_zeros(0, self.embed_dims)
        images = self.preprocess.normalize(images)
        mixed = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(images.device.type, self.dtype if mixed else None, enabled=mixed):
            parts = [self.model.encode_image(part) for part in images.split(self.batch_size)]
        return F.normalize(torch.cat(parts).float(), dim=-1)  # outside inference mode: a loss may use it


def describe_teacher(teacher, batch_size: int) -> str:
    """Describe in one line a teacher's memory and its time for a batch, measured once after a warm-up."""
    images = torch.zeros(batch_size, 3, *teacher.image_size, device=teacher.device)
    for _ in range(2):
        start = time.perf_counter()
        teacher.encode_image(images).cpu()  # waits for the device
        seconds = time.perf_counter() - start
    return (
        f'Teacher {teacher.name}: {teacher.num_bytes / 2**20:.1f} MiB of weights, {seconds * 1000:.1f} ms for a '
        f'batch of {batch_size} images on {teacher.device}'
    )


def complete_teacher(cfg: dict | None, model: object) -> dict:
    """Complete the config of an image teacher from the text encoder of the same CLIP.

    Args:
        cfg: Config of an image teacher; None for the image tower of the text encoder's CLIP.
        model: A model with a ``text_encoder``, which is read only if the config is incomplete.

    Raises:
        ValueError: If the text encoder does not name its CLIP, as precomputed embeddings do not.
    """
    if cfg is not None and (cfg['type'] != 'OpenCLIPTeacher' or 'model_name' in cfg):
        return dict(cfg)
    own = model.text_encoder.teacher
    if own is None or cfg is not None and own['type'] != cfg['type']:
        raise ValueError(
            f'teacher: {type(model.text_encoder).__name__} does not name the CLIP of an OpenCLIPTeacher; set '
            'model_name and pretrained in the teacher of the CLIPDistillationHook, or leave the hook out'
        )
    return {**own, **(cfg or {})}


def identify_teacher(cfg: dict) -> dict:
    """Return what the embeddings of a teacher config depend on, without loading weights."""
    arguments = dict(cfg)
    name = arguments.pop('type')
    return dict(type=name, **MODELS.get(name).identify(**arguments))
