"""The base of metrics: keys by role, groups of classes, embeddings read from data samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from kdeov_mm.models.clip import ClassEmbeddings, TextEncoder

# Scores nearer than this are a tie: rounding, which depends on the block size, must not decide a rank.
TIE = 1e-9

# The order in which known groups are shown; others follow in the data set's.
GROUPS = ('base', 'recombined', 'novel', 'unseen')


class RoleMetric(BaseMetric):
    """Measures several roles, such as student, teacher and chance, in one pass.

    Keys are ``{prefix}/{name}`` for the student and ``{role}/{prefix}/{name}`` for every other role.

    Args:
        prefix: Middle part of the keys; None takes the metric's own, such as ``zero_shot``.
        collect_device: ``cpu`` or ``gpu``, where results of several processes are gathered.
        collect_dir: Folder for that, when the device is ``cpu``.
    """

    def __init__(self, prefix: str | None = None, collect_device: str = 'cpu', collect_dir: str | None = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        # MMEngine would put its prefix before the role.
        self.task, self.prefix = self.prefix, None

    def compute_by_role(self, results: list[dict]) -> dict[str, dict[str, float]]:
        """Compute ``{role: {name: value}}`` from the results of all processes."""
        raise NotImplementedError

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the flat metrics.

        Raises:
            ValueError: If there is nothing to evaluate.
        """
        if not results:
            raise ValueError(f'{type(self).__name__}: the data set gave no sample to evaluate; is the split empty?')
        return {
            f'{self.task}/{name}' if role == 'student' else f'{role}/{self.task}/{name}': float(value)
            for role, values in self.compute_by_role(results).items()
            for name, value in values.items()
        }

    def require_meta(self, key: str) -> Sequence[str]:
        """Return one entry of the data set's metainfo.

        Raises:
            ValueError: If the data set has none.
        """
        if not (self.dataset_meta or {}).get(key):
            raise ValueError(
                f'{type(self).__name__}: the data set has no metainfo[{key!r}]; use OVCocoDataset or set it'
            )
        return list(self.dataset_meta[key])

    def class_groups(self) -> list[str]:
        """Return the group of each class, ``[K]``; ``all`` if the data set has no groups.

        Raises:
            ValueError: If the data set's groups are not one for each class.
        """
        classes = self.require_meta('classes')
        groups = list(self.dataset_meta.get('groups') or ['all'] * len(classes))
        if len(groups) != len(classes):
            raise ValueError(f"metainfo['groups'] has {len(groups)} entries for {len(classes)} classes; give one each")
        return groups

    def group_members(self) -> dict[str, np.ndarray]:
        """Return the classes of ``all`` and of each group as bool masks ``[K]``, in display order."""
        groups = np.array(self.class_groups())
        members = {name: groups == name for name in order_groups(groups.tolist())}
        members.pop('all', None)
        return {'all': np.ones(len(groups), bool), **members}


def order_groups(groups: Sequence[str]) -> list[str]:
    """Return the distinct groups in display order."""
    others = [name for name in dict.fromkeys(groups) if name not in GROUPS]
    return [name for name in GROUPS if name in groups] + others


class EmbeddingMetric(RoleMetric):
    """Compares image embeddings of the student, and of the teacher if there is one, with texts.

    Args:
        text_encoder: Config of the text encoder, see :class:`~kdeov_mm.models.clip.ClassEmbeddings`; None: that of the
            tested model, which ``TextEncoderHook`` gives.
        templates: Prompt templates, a set's name or a list; None: the text encoder's own.
        fields: Role to data sample field; ``student`` is required in each sample, other roles may be absent.
        **kwargs: See :class:`RoleMetric`.
    """

    def __init__(
        self,
        text_encoder: dict | None = None,
        templates: str | Sequence[str] | None = None,
        fields: dict[str, str] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.text_encoder: dict | TextEncoder | None = text_encoder
        self.templates = templates
        self.fields = fields or dict(student='image_embedding', teacher='teacher_embedding')

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Embed distinct texts: float32, L2-normalised, ``[K, D]``.

        Raises:
            ValueError: If there is no text encoder.
        """
        if self.text_encoder is None:
            raise ValueError(
                f'{type(self).__name__}.text_encoder: there is none; set model.text_encoder in the config, and keep '
                "dict(type='TextEncoderHook') among the hooks"
            )
        return ClassEmbeddings.build(list(texts), self.text_encoder, self.templates).embeddings

    def use_text_encoder(self, text_encoder: TextEncoder) -> None:
        """Embed texts with this encoder from now on."""
        self.text_encoder = text_encoder

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of one batch of data samples (as dicts)."""
        for sample in data_samples:
            self.results.append(
                dict(
                    img_path=str(sample.get('img_path', sample.get('img_id'))),
                    **read_embeddings(sample, self.fields),
                    **self.read_target(sample),
                )
            )

    def read_target(self, sample: dict) -> dict:
        """Read the ground truth of one image."""
        raise NotImplementedError

    def stack(self, results: list[dict]) -> dict[str, Tensor]:
        """Embeddings of each role that all images have: float32 ``[N, D]``.

        Raises:
            ValueError: If a role's embedding is there for some images only.
        """
        embeddings = {}
        for role in self.fields:
            rows = [result[role] for result in results if role in result]
            if rows and len(rows) < len(results):
                missing = next(result['img_path'] for result in results if role not in result)
                raise ValueError(
                    f'{type(self).__name__}: {self.fields[role]} is there for {len(rows)} of {len(results)} '
                    f'images, but not for {missing}; fill it for all images or for none'
                )
            if rows:
                embeddings[role] = torch.stack(rows)
        return embeddings


def read_embeddings(sample: dict, fields: dict[str, str]) -> dict[str, Tensor]:
    """Read one data sample's embeddings, float32 ``[D]`` each, by role.

    Raises:
        ValueError: If the student's embedding is missing, or one is not a finite vector; names the image.
    """
    image = sample.get('img_path', sample.get('img_id'))
    embeddings = {}
    for role, field in fields.items():
        value = sample.get(field)
        if value is None:
            if role == 'student':
                raise ValueError(f'{image}: the data sample has no {field}; does the model fill it in predict()?')
            continue
        value = torch.as_tensor(value).detach().float().cpu()
        if value.ndim != 1:
            raise ValueError(f'{image}: {field} must have shape [D], got {list(value.shape)}')
        if not value.isfinite().all():
            raise ValueError(f'{image}: {field} holds NaN or infinity; the image or the weights are damaged')
        embeddings[role] = value
    return embeddings


def pessimistic_rank(scores: Tensor, target: Tensor, own: Tensor | None = None) -> Tensor:
    """Count the candidates ranked before the right one; ties count against it.

    Args:
        scores: float64 ``[N, K]``.
        target: Score of the right candidate, ``[N]``.
        own: bool ``[N, K]``, candidates that do not count against it: itself and other right ones; None if it
            is alone.

    Returns:
        Tensor: int64 ``[N]``, 0 is first.
    """
    before = scores >= target[:, None] - TIE
    return before.sum(1) - 1 if own is None else (before & ~own).sum(1)


def similarity(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine similarity in float64, ``[N, D]`` and ``[K, D]`` to ``[N, K]``.

    Raises:
        ValueError: If their dimensions differ.
    """
    check_same_dimension(images, texts)
    normalize = torch.nn.functional.normalize
    return normalize(images.double(), dim=-1) @ normalize(texts.double(), dim=-1).T


def check_same_dimension(images: Tensor, texts: Tensor) -> None:
    """Raise ValueError where image and text embeddings are not of one space."""
    if images.shape[-1] != texts.shape[-1]:
        raise ValueError(
            f'image embeddings have {images.shape[-1]} dimensions, text embeddings {texts.shape[-1]}; '
            'use the text encoder that belongs to the teacher'
        )
