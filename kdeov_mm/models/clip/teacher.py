"""The frozen image teacher."""
from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmyolo.registry import MODELS
from torch import Tensor
from torchvision.ops import roi_align

from .loading import load_open_clip


@MODELS.register_module()
class OpenCLIPTeacher:
    """Embeds images, and regions of images, with a frozen OpenCLIP model.

    It is deliberately no ``nn.Module``: a student that holds it does not save, train or broadcast it.

    Args:
        model_name: An OpenCLIP model name, such as ``ViT-B-32``.
        pretrained: An OpenCLIP tag or a local weights file; None gives random weights.
        batch_size: Most images in one forward pass.
    """

    def __init__(self, model_name: str, pretrained: Optional[str] = None, batch_size: int = 256) -> None:
        self.model = load_open_clip(model_name, pretrained)
        self.name = model_name
        self.batch_size = batch_size
        visual = self.model.visual
        self.image_size = input_size(visual)
        preprocess = open_clip_preprocess(visual)
        self.mean = torch.tensor(preprocess['mean']).view(1, 3, 1, 1)
        self.std = torch.tensor(preprocess['std']).view(1, 3, 1, 1)

    def to(self, device) -> 'OpenCLIPTeacher':
        self.model.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)
        return self

    @property
    def embed_dims(self) -> int:
        """The dimension D of the embeddings."""
        with torch.inference_mode():
            return self.model.encode_image(torch.zeros(1, 3, *self.image_size, device=self.mean.device)).shape[-1]

    @property
    def logit_scale(self) -> float:
        """The factor that turns cosine similarities into logits (exp of CLIP's learnt log temperature)."""
        return float(self.model.logit_scale.exp())

    @torch.no_grad()
    def encode_image(self, images: Union[Tensor, Sequence[Tensor]]) -> Tensor:
        """Embed whole images.

        Args:
            images: RGB in [0, 1], ``[B, 3, H, W]`` or B images ``[3, H, W]`` of any sizes; each is resized to the
                teacher's own input size.

        Returns:
            Tensor: float32, L2-normalised, ``[B, D]``.
        """
        if len({tuple(image.shape) for image in images}) > 1:
            images = torch.cat([resize(image[None], self.image_size) for image in images])
        elif not isinstance(images, Tensor):
            images = torch.stack(tuple(images))
        return self._embed(resize(images, self.image_size))

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
        if not len(images):
            return images.new_zeros(0, self.embed_dims)
        images = (images - self.mean) / self.std
        parts = [self.model.encode_image(part) for part in images.split(self.batch_size)]
        return F.normalize(torch.cat(parts).float(), dim=-1)


def input_size(visual) -> Tuple[int, int]:
    """Height and width in pixels that an OpenCLIP image tower takes."""
    size = visual.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def resize(images: Tensor, size: Tuple[int, int]) -> Tensor:
    """Resize images in [0, 1], ``[B, 3, H, W]``, as CLIP's preprocessing interpolates."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode='bicubic', antialias=True).clamp(0, 1)


def open_clip_preprocess(visual) -> dict:
    """The preprocessing (mean, std, size, interpolation) that belongs to an OpenCLIP image tower."""
    preprocess = getattr(visual, 'preprocess_cfg', None)
    if preprocess is None:
        from open_clip.transform import PreprocessCfg
        preprocess = vars(PreprocessCfg())
    return preprocess
