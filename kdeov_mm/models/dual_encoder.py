"""Trainable dual encoders, built by OpenCLIP; the teacher of the shapes dataset is one."""

from collections.abc import Mapping, Sequence
from itertools import chain

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
from .logit_scale import clamp_logit_scale
from .losses.joined_batch import join_ranks


@MODELS.register_module()
class OpenCLIPDualEncoder(EmbeddingSpaceMixin, BaseModel):
    """Trains any OpenCLIP model with the symmetric contrastive loss of Radford et al. 2021.

    Equal captions in a batch, and captions of one image, are not negatives. The batch is that of all ranks.

    Args:
        model_name: An OpenCLIP model name. Give it or ``model_cfg``.
        pretrained: Weights to start from. With ``model_name`` an OpenCLIP tag or a local file, None for random weights;
            with ``model_cfg`` True for timm's and Hugging Face's own weights of the towers.
        model_cfg: An OpenCLIP model's config, see :func:`~kdeov_mm.models.clip.towers.build_towers`.
        preprocess: Changes to the image preprocessing, see
            :func:`~kdeov_mm.models.clip.preprocess.find_preprocess`.
        frozen: Towers of ``model_cfg``, ``image`` or ``text`` or both, of which only the projection is trained.
        data_preprocessor: Gives RGB in [0, 1]; the tower's own preprocessing is applied here.

    Raises:
        ValueError: If both or neither of ``model_name`` and ``model_cfg`` are given, or one of them, ``preprocess`` or
            ``frozen`` has an unknown value.
        FileNotFoundError: If ``pretrained`` is a path without a file.
        ImportError: If a Hugging Face tower is asked for and the package ``transformers`` is missing.
    """

    def __init__(
        self,
        model_name: str | None = None,
        pretrained: str | bool | None = None,
        data_preprocessor: dict | None = None,
        model_cfg: Mapping | None = None,
        preprocess: Mapping | None = None,
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
        """Set the mode as in nn.Module, but keep frozen parts in inference mode."""
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

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts; float32, L2-normalised, ``[N, D]``."""
        return F.normalize(self.clip.encode_text(self.tokenizer(texts).to(self.preprocess.mean.device)).float(), dim=-1)

    def forward(
        self, inputs: Tensor, data_samples: list[DetDataSample] | None = None, mode: str = 'tensor'
    ) -> dict | list[DetDataSample] | Tensor:
        """Embed images, or compute the contrastive loss.

        Args:
            inputs: RGB in [0, 1], ``[B, 3, H, W]``.
            data_samples: Data samples of the same images.
            mode: ``tensor`` returns the embeddings ``[B, D]``, ``predict`` fills ``image_embedding`` of the samples,
                and ``loss`` needs a non-empty list ``captions`` in each sample and draws one of them at random.
        """
        images = self.encode_image(inputs)
        if mode == 'tensor':
            return images
        if mode == 'predict':
            for sample, embedding in zip(data_samples, images):
                sample.image_embedding = embedding
            return data_samples
        captions = [s.captions[int(torch.randint(len(s.captions), ()))] for s in data_samples]
        text_features = self.encode_text(captions)
        clamp_logit_scale(self.clip.logit_scale)
        images, text_features = join_ranks(images, text_features)
        pairs = all_gather_object([(caption, s.get('img_path')) for caption, s in zip(captions, data_samples)])
        same = find_same(*zip(*chain.from_iterable(pairs))).to(images)
        loss = contrastive_loss(images, text_features, self.clip.logit_scale.exp(), same)
        return dict(loss_contrastive=loss, **batch_accuracy(images.detach(), text_features.detach()))


class TextTower:
    """Presents the text tower of a dual encoder as a text encoder for :class:`~kdeov_mm.models.clip.ClassEmbeddings`.

    Args:
        model: The dual encoder, in inference mode when texts are embedded.
        batch_size: Texts in one forward pass.
    """

    id = 'the text tower of the model in memory'
    templates, synonyms, teacher = 'single', None, None
    cached = False  # its weights change

    def __init__(self, model: OpenCLIPDualEncoder, batch_size: int = 256) -> None:
        self.model, self.batch_size = model, batch_size

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts; float32, L2-normalised, ``[N, D]``, on the CPU."""
        parts = [list(texts[i : i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        return torch.cat([self.model.encode_text(part).cpu() for part in parts])


def find_same(captions: Sequence[str], images: Sequence[str | None]) -> Tensor:
    """Mark the pairs of a batch that are not negatives of each other: equal captions, or captions of one image.

    Args:
        captions: N texts.
        images: Path of each image; None if it is unknown.

    Returns:
        Tensor: ``[N, N]``, symmetric, 1 or 0.
    """
    images = [index if image is None else image for index, image in enumerate(images)]
    same = torch.zeros(len(captions), len(captions), dtype=torch.bool)
    for column in (captions, images):
        indices = {value: index for index, value in enumerate(column)}
        ids = torch.tensor([indices[value] for value in column])
        same |= ids[:, None] == ids
    return same.float()


def batch_accuracy(images: Tensor, text_features: Tensor, topk: Sequence[int] = (1, 5)) -> dict:
    """Compute the ratio of images whose own text is among the k nearest in the batch, ``batch_top{k}``.

    Args:
        images, text_features: Normalised embeddings ``[N, D]``; row i of both is a pair.
        topk: The values of k.
    """
    best = (images @ text_features.T).topk(min(max(topk), len(text_features))).indices
    hits = best == torch.arange(len(images), device=images.device)[:, None]
    return {f'batch_top{k}': hits[:, :k].any(1).float().mean() for k in topk}


def contrastive_loss(images: Tensor, text_features: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Compute CLIP's symmetric contrastive loss with several positives for a caption (UniCL, Yang et al. 2022).

    Args:
        images, text_features: Normalised embeddings ``[N, D]``; row i of both is a pair.
        scale: Logit scale.
        same: 1 where two pairs are not negatives of each other, else 0, see :func:`find_same`; ``[N, N]``. The unit
            matrix gives CLIP's loss.

    Returns:
        Tensor: Scalar, >= 0.
    """
    target = same / same.sum(1, keepdim=True)
    logits = scale * images @ text_features.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
