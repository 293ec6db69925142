"""A trainable OpenCLIP dual encoder; it makes the shapes world's teacher, as CLIP was made."""
from typing import List, Optional, Union

import open_clip
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmyolo.registry import MODELS
from torch import Tensor

from .clip.loading import check_source
from .clip.preprocess import Preprocess, find_preprocess


@MODELS.register_module()
class OpenCLIPDualEncoder(BaseModel):
    """Any OpenCLIP model, trained with the symmetric contrastive loss of Radford et al. 2021, where equal captions
    in a batch are no negatives.

    Args:
        model_name: An OpenCLIP model name.
        pretrained: Weights to start from: an OpenCLIP tag or a local file; None starts from random weights.
        max_logit_scale: Upper bound of the learnt exp(log temperature); 100 in CLIP.
        data_preprocessor: Gives RGB in [0, 1]; the tower's own preprocessing is applied here.
    """

    def __init__(self, model_name: str, pretrained: Optional[str] = None, max_logit_scale: float = 100.,
                 data_preprocessor: Optional[dict] = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        check_source(model_name, pretrained)
        self.clip = open_clip.create_model(model_name, pretrained=pretrained)
        self.tokenizer = open_clip.get_tokenizer(model_name)
        self.max_logit_scale = max_logit_scale
        self.preprocess = Preprocess(find_preprocess(model_name, pretrained))

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed RGB images in [0, 1], ``[B, 3, H, W]``; float32, L2-normalised, ``[B, D]``."""
        return F.normalize(self.clip.encode_image(self.preprocess(images)).float(), dim=-1)

    def encode_text(self, texts: List[str]) -> Tensor:
        """Embed texts; float32, L2-normalised, ``[N, D]``."""
        return F.normalize(self.clip.encode_text(self.tokenizer(texts).to(self.preprocess.mean.device)).float(), dim=-1)

    def forward(self, inputs: Tensor, data_samples: Optional[List[DetDataSample]] = None,
                mode: str = 'tensor') -> Union[dict, List[DetDataSample], Tensor]:
        """``loss`` needs a non-empty ``captions`` list in each data sample; one of them is drawn at random."""
        images = self.encode_image(inputs)
        if mode == 'tensor':
            return images
        if mode == 'predict':
            for sample, embedding in zip(data_samples, images):
                sample.image_embedding = embedding
            return data_samples
        captions = [s.captions[int(torch.randint(len(s.captions), ()))] for s in data_samples]
        texts = self.encode_text(captions)
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=float(torch.tensor(self.max_logit_scale).log()))
            hits = (images @ texts.T).argmax(1).eq(torch.arange(len(images), device=images.device))
        same = torch.tensor([[a == b for b in captions] for a in captions], device=images.device).float()
        loss = contrastive_loss(images, texts, self.clip.logit_scale.exp(), same)
        return dict(loss_contrastive=loss, batch_top1=hits.float().mean())


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """CLIP's symmetric contrastive loss, in which equal captions are no negatives (UniCL, Yang et al. 2022).

    Args:
        images, texts: Normalised embeddings ``[N, D]``, row by row one pair.
        scale: Factor from cosine similarity to logit.
        same: ``[N, N]``, symmetric, 1 where two captions are equal and 0 elsewhere; the unit matrix gives CLIP's loss.

    Returns:
        Tensor: Scalar, >= 0.
    """
    target = same / same.sum(1, keepdim=True)
    logits = scale * images @ texts.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
