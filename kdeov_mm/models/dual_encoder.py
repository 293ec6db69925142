"""Trainable dual encoders, built by OpenCLIP; one makes the shapes world's teacher, as CLIP was made."""

from itertools import chain
from typing import List, Mapping, Optional, Sequence, Union

import open_clip
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from mmengine.dist import all_gather_object
from mmengine.model import BaseModel
from mmyolo.registry import MODELS
from torch import Tensor

from .clip.loading import create_open_clip
from .clip.preprocess import Preprocess, find_preprocess, make_preprocess
from .clip.towers import build_towers, freeze, keep_frozen
from .embedding_space import EmbeddingSpaceMixin
from .losses.joined_batch import join_ranks


@MODELS.register_module()
class OpenCLIPDualEncoder(EmbeddingSpaceMixin, BaseModel):
    """Any OpenCLIP model, trained with the symmetric contrastive loss of Radford et al. 2021, where equal captions
    in a batch, and captions of one image, are no negatives. The batch is that of all ranks.

    Args:
        model_name: An OpenCLIP model name. Give it or ``model_cfg``.
        pretrained: Weights to start from. With ``model_name`` an OpenCLIP tag or a local file, None for random weights;
            with ``model_cfg`` True for timm's and Hugging Face's own weights of the towers.
        model_cfg: An OpenCLIP model's config, see :func:`~kdeov_mm.models.clip.towers.build_towers`.
        preprocess: What to change in the images' preprocessing, see
            :func:`~kdeov_mm.models.clip.preprocess.find_preprocess`.
        frozen: Of ``image`` and ``text``: towers of ``model_cfg`` of which the projection alone learns.
        data_preprocessor: Gives RGB in [0, 1]; the tower's own preprocessing is applied here.

    Raises:
        ValueError: Not one of ``model_name`` and ``model_cfg``, or something unknown in these, ``preprocess`` or
            ``frozen``.
        FileNotFoundError: ``pretrained`` is a path without a file.
        ImportError: A Hugging Face tower without the package ``transformers``.
    """

    def __init__(
        self,
        model_name: Optional[str] = None,
        pretrained: Union[str, bool, None] = None,
        data_preprocessor: Optional[dict] = None,
        model_cfg: Optional[Mapping] = None,
        preprocess: Optional[Mapping] = None,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        if (model_name is None) == (model_cfg is None):
            raise ValueError(f'give one of model_name and model_cfg, got {model_name!r} and {model_cfg!r}')
        if set(frozen) - {'image', 'text'} or isinstance(frozen, str) or frozen and model_cfg is None:
            raise ValueError(f"frozen: must be a list of 'image' and 'text', with model_cfg, got {frozen!r}")
        if model_cfg is None:
            self.clip = create_open_clip(model_name, pretrained)
            self.tokenizer = open_clip.get_tokenizer(model_name)
            self.preprocess = Preprocess(find_preprocess(model_name, pretrained, preprocess))
        else:
            if pretrained not in (None, True, False):
                raise ValueError(
                    f'pretrained: with model_cfg True or False, got {pretrained!r}; give the weights of '
                    'both towers by load_from'
                )
            self.clip, self.tokenizer = build_towers(model_cfg, bool(pretrained))
            self.preprocess = Preprocess(make_preprocess(model_cfg, {}, preprocess))
        self.frozen = [dict(image='visual', text='text')[name] for name in frozen]
        for name in self.frozen:
            freeze(getattr(self.clip, name))

    def train(self, mode: bool = True) -> 'OpenCLIPDualEncoder':
        """As nn.Module's, but what is frozen stays in inference mode."""
        super().train(mode)
        for name in self.frozen:
            keep_frozen(getattr(self.clip, name))
        return self

    @property
    def text_encoder(self) -> 'TextTower':
        """The model's own text tower, for metrics."""
        return TextTower(self)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed RGB images in [0, 1], ``[B, 3, H, W]``; float32, L2-normalised, ``[B, D]``."""
        return F.normalize(self.clip.encode_image(self.preprocess(images)).float(), dim=-1)

    def encode_text(self, texts: List[str]) -> Tensor:
        """Embed texts; float32, L2-normalised, ``[N, D]``."""
        return F.normalize(self.clip.encode_text(self.tokenizer(texts).to(self.preprocess.mean.device)).float(), dim=-1)

    def forward(
        self, inputs: Tensor, data_samples: Optional[List[DetDataSample]] = None, mode: str = 'tensor'
    ) -> Union[dict, List[DetDataSample], Tensor]:
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
            self.clip.logit_scale.clamp_(max=float(torch.tensor(100.0).log()))  # CLIP's bound
        images, texts = join_ranks(images, texts)
        pairs = all_gather_object([(caption, s.get('img_path')) for caption, s in zip(captions, data_samples)])
        same = find_same(*zip(*chain.from_iterable(pairs))).to(images)
        loss = contrastive_loss(images, texts, self.clip.logit_scale.exp(), same)
        return dict(loss_contrastive=loss, **batch_accuracy(images.detach(), texts.detach()))


class TextTower:
    """The text tower of a dual encoder, as a text encoder of a :class:`~kdeov_mm.models.clip.TextBank`.

    Args:
        model: The dual encoder, in inference mode when texts are embedded.
        batch_size: Texts in one forward pass.
    """

    id = 'the text tower of the model in memory'
    templates, synonyms = 'single', None
    cached = False  # its weights change

    def __init__(self, model: OpenCLIPDualEncoder, batch_size: int = 256) -> None:
        self.model, self.batch_size = model, batch_size

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts; float32, L2-normalised, ``[N, D]``, on the CPU."""
        parts = [list(texts[i : i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        return torch.cat([self.model.encode_text(part).cpu() for part in parts])


def find_same(captions: Sequence[str], images: Sequence[Optional[str]]) -> Tensor:
    """Which pairs of a batch are no negatives of each other: those with equal captions, or of one image.

    Args:
        captions: N texts.
        images: Path of each image; None where it is not known.

    Returns:
        Tensor: ``[N, N]``, symmetric, 1 or 0.
    """
    images = [number if image is None else image for number, image in enumerate(images)]
    same = torch.zeros(len(captions), len(captions), dtype=torch.bool)
    for column in (captions, images):
        numbers = {value: number for number, value in enumerate(column)}
        kinds = torch.tensor([numbers[value] for value in column])
        same |= kinds[:, None] == kinds
    return same.float()


def batch_accuracy(images: Tensor, texts: Tensor, topk: Sequence[int] = (1, 5)) -> dict:
    """Share of the images whose own text is among the k nearest of the batch's, ``batch_top{k}``.

    Args:
        images, texts: Normalised embeddings ``[N, D]``, row by row one pair.
        topk: The values of k.
    """
    best = (images @ texts.T).topk(min(max(topk), len(texts))).indices
    hits = best == torch.arange(len(images), device=images.device)[:, None]
    return {f'batch_top{k}': hits[:, :k].any(1).float().mean() for k in topk}


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
