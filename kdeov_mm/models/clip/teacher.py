"""The frozen image teacher."""

import time
from dataclasses import asdict
from functools import cached_property
from typing import Optional, Sequence, Union

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

    It is deliberately no ``nn.Module``: a student that holds it does not save, train or broadcast it.

    Args:
        model_name: An OpenCLIP model name, such as ``ViT-B-32``.
        pretrained: An OpenCLIP tag or a local weights file; None gives random weights.
        batch_size: Most images in one forward pass.
        preprocess: What to change in the preprocessing that the weights bring, see
            :func:`~kdeov_mm.models.clip.preprocess.find_preprocess`. ``dict(resize_mode='squash')`` shows the teacher
            all of an oblong image, of which most models' own preprocessing shows the middle.
        dtype: ``fp32``, ``bf16`` or ``fp16``: what the model computes in (by autocast, whatever the student does).

    Raises:
        ValueError: An unknown dtype, preprocessing, model or tag, or a file that does not hold weights of this model.
        FileNotFoundError: ``pretrained`` is a path without a file.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: Optional[str] = None,
        batch_size: int = 256,
        preprocess: Optional[dict] = None,
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
        pretrained: Optional[str] = None,
        batch_size: int = 256,
        preprocess: Optional[dict] = None,
        dtype: str = 'fp32',
    ) -> dict:
        """What the embeddings of a teacher with these arguments depend on; no weights are loaded."""
        return dict(
            weights=weights_id(model_name, pretrained),
            dtype=dtype,
            preprocess=asdict(find_preprocess(model_name, pretrained, preprocess)),
        )

    @property
    def parts(self) -> list:
        """The modules that hold its weights and constants."""
        return [self.model, self.preprocess]

    def to(self, device) -> 'OpenCLIPTeacher':
        self.model.to(device)
        self.preprocess.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.preprocess.mean.device

    @cached_property
    def embed_dims(self) -> int:
        """The dimension D of the embeddings."""
        return self._embed(torch.zeros(1, 3, *self.image_size, device=self.device)).shape[-1]

    @property
    def logit_scale(self) -> float:
        """The factor that turns cosine similarities into logits (exp of CLIP's learnt log temperature)."""
        return float(self.model.logit_scale.exp())

    @property
    def num_bytes(self) -> int:
        """Memory of the weights, those of the text tower included."""
        return sum(tensor.nbytes for tensor in (*self.model.parameters(), *self.model.buffers()))

    @torch.no_grad()
    def encode_image(self, images: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Embed whole images, each preprocessed as the teacher's training did.

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
            context: Enlargement of the box's longer side; the crop is square, as CLIP expects.

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
        """Embed images of the teacher's size."""
        if not len(images):
            return images.new_zeros(0, self.embed_dims)
        images = self.preprocess.normalize(images)
        mixed = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(images.device.type, self.dtype if mixed else None, enabled=mixed):
            parts = [self.model.encode_image(part) for part in images.split(self.batch_size)]
        return F.normalize(torch.cat(parts).float(), dim=-1)  # outside inference mode: a loss may use it


def describe_teacher(teacher, batch_size: int) -> str:
    """One line about a teacher's memory and its time for a batch, which is measured once after a warm-up."""
    images = torch.zeros(batch_size, 3, *teacher.image_size, device=teacher.device)
    for _ in range(2):
        start = time.perf_counter()
        teacher.encode_image(images).cpu()  # waits for the device
        seconds = time.perf_counter() - start
    return (
        f'Teacher {teacher.name}: {teacher.num_bytes / 2**20:.1f} MiB of weights, {seconds * 1000:.1f} ms for a '
        f'batch of {batch_size} images on {teacher.device}'
    )


def complete_teacher(cfg: Optional[dict], model: object) -> dict:
    """Fill what the config of an image teacher leaves out from the text encoder of the same CLIP.

    Args:
        cfg: Config of an image teacher; None for the image tower of the text encoder's CLIP.
        model: Has the text encoder as ``text_encoder``; it is looked at only where something is left out.

    Raises:
        ValueError: If there is nothing to fill it from: ready embeddings do not name their CLIP.
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
    """What the embeddings of a teacher, given by its config, depend on; no weights are loaded."""
    arguments = dict(cfg)
    name = arguments.pop('type')
    return dict(type=name, **MODELS.get(name).identify(**arguments))
