"""Training from stored teacher embeddings, with the same augmented views that the teacher saw."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmyolo.registry import DATASETS, MODELS, TRANSFORMS
from torch.utils.data import Dataset

from kdeov_mm.models.clip import identify_teacher
from kdeov_mm.utils.embeddings import normalize_rows
from kdeov_mm.utils.errors import InputError
from kdeov_mm.utils.files import sha256
from kdeov_mm.utils.seeds import mix_seed, seeded_sample
from .teacher_store import TeacherStore

open_teacher_store = lru_cache(maxsize=8)(TeacherStore)
IMAGES, CAPTIONS = 'images', 'captions'  # the two parts of a store; each is a TeacherStore


def view_seed(seed: int, index: int, view: int) -> int:
    """Return the seed of an augmented view of an image."""
    return mix_seed(seed, index, view)


def data_identity(dataset: Dataset) -> dict:
    """Return a fingerprint of a data set: its annotation file, classes, image names and captions."""
    folder = (getattr(dataset, 'data_prefix', None) or {}).get('img') or ''
    digest = hashlib.sha256(
        json.dumps(dataset.metainfo.get('classes')).encode()
    )  # transforms may use the boxes of these
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        item = [info['img_path'].removeprefix(folder), list(info.get('captions') or [])]
        digest.update(json.dumps(item).encode())
    ann_file = getattr(dataset, 'ann_file', None)
    return dict(num_images=len(dataset), images=digest.hexdigest(), annotations=sha256(ann_file) if ann_file else None)


def describe_pipeline(pipeline: Sequence[dict]) -> list:
    """Convert a pipeline's configs to JSON values."""
    return json.loads(json.dumps(list(pipeline), default=str))


@TRANSFORMS.register_module()
class LoadTeacherEmbedding(BaseTransform):
    """Runs a pipeline that packs a sample, and adds ``teacher_embedding`` (and ``caption_embedding``) from a store.

    One of the stored augmented views is drawn, and the pipeline runs with the seed of that view. If the store has one
    view without augmentation, the pipeline augments freely. One of the captions is drawn. In ``ResumableTrainLoop``
    these draws are a function of seed, epoch and index, like any augmentation.

    Args:
        store: Folder that ``tools/dataset_converters/cache_teacher.py`` wrote.
        transforms: The pipeline.

    Raises:
        FileNotFoundError, ValueError: See ``TeacherStore``.
    """

    def __init__(self, store: str, transforms: Sequence[dict]) -> None:
        self.images = open_teacher_store(str(Path(store, IMAGES)))
        folder = Path(store, CAPTIONS)
        self.images.require(embedding=(3, True), first_caption=(1, False))
        if 'seed' in self.images.shards[0]:
            self.images.require(seed=(2, False))
        self.captions = open_teacher_store(str(folder)) if folder.is_dir() else None
        if self.captions is not None:
            self.captions.require(embedding=(2, True))
        self.transforms = Compose(transforms)

    def transform(self, results: dict) -> dict | None:
        """Pack the sample; return None if the pipeline refuses it or the teacher could not read the image."""
        index = results['sample_idx']
        row = {name: value[0] for name, value in self.images.rows([index]).items()}
        view = np.random.randint(len(row['embedding']))
        caption = None
        if self.captions is not None and results.get('captions'):
            caption = int(row['first_caption']) + np.random.randint(len(results['captions']))
        if not row['embedding'][view].any():
            return None
        if 'seed' in row:
            seed = int(row['seed'][view])
            if seed < 0:
                raise InputError(f'{self.images.where(index)}: seed is {seed}; expected 0 or more; rebuild the store')
            with seeded_sample(seed):
                packed = self.transforms(results)
        else:
            packed = self.transforms(results)
        if packed is not None:
            packed['data_samples'].teacher_embedding = normalize_rows(
                row['embedding'][view][None], lambda _: self.images.where(index)
            )[0]
            if caption is not None:
                packed['data_samples'].caption_embedding = normalize_rows(
                    self.captions.rows([caption])['embedding'], lambda _: self.captions.where(caption)
                )[0]
        return packed


@DATASETS.register_module()
class CachedTeacherDataset(Dataset):
    """Adds stored teacher embeddings to the samples of a data set, so no teacher is loaded.

    All other attributes are those of the wrapped data set.

    Args:
        dataset: Config of a data set with an index and a pipeline, as for training with an online teacher.
        store: Folder that ``tools/dataset_converters/cache_teacher.py`` wrote for it.
        teacher: Config of the teacher that must have made the store; None accepts any.
        text_encoder: Config of the text encoder that must have embedded the captions; None accepts any, or none.

    Raises:
        FileNotFoundError: If the store does not exist or is not finished.
        ValueError: If the store is damaged, or was made with another teacher, data set or pipeline.
    """

    def __init__(
        self,
        dataset: dict,
        store: str,
        teacher: dict | None = None,
        text_encoder: dict | None = None,
    ) -> None:
        pipeline = list(dataset['pipeline'])
        load = dict(type='LoadTeacherEmbedding', store=store, transforms=pipeline)
        self.dataset = DATASETS.build({**dataset, 'pipeline': [load]})
        data = data_identity(self.dataset)
        wanted, images = dict(data), open_teacher_store(str(Path(store, IMAGES)))
        if images.identity.get('views'):
            wanted['pipeline'] = describe_pipeline(pipeline)
        if teacher is not None:
            wanted['teacher'] = identify_teacher(teacher)
        images.check(wanted)
        if text_encoder is not None:
            open_teacher_store(str(Path(store, CAPTIONS))).check(dict(data, text_encoder=MODELS.build(text_encoder).id))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset' or name.startswith('__'):  # missing while unpickling
            raise AttributeError(name)
        return getattr(self.dataset, name)
