"""Classification data sets of torchvision."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torchvision
from mmengine.dataset import Compose
from mmyolo.registry import DATASETS
from timm.data import ImageNetInfo
from torch.utils.data import Dataset

from kdeov_mm.text import read_class_names
from kdeov_mm.utils.display import suggest
from kdeov_mm.utils.files import fingerprint_files
from kdeov_mm.utils.image_files import BrokenImageError


LABEL_FIELDS = ('targets', '_labels', 'labels')  # names in torchvision's data sets
FILE_FIELDS = ('_image_files', '_images')


@DATASETS.register_module()
class TorchvisionDataset(Dataset):
    """Wraps a classification data set of ``torchvision.datasets``, such as CIFAR10, CIFAR100, ImageNet or ImageFolder.

    A sample that enters the pipeline holds ``img`` (BGR uint8 ``[H, W, 3]``, already loaded), ``img_path``
    (``ROOT#INDEX`` for an image without a file), ``img_id`` (its index) and ``gt_label``, which ``PackDetInputs`` needs
    in its ``meta_keys``. ``metainfo['classes']`` are the class names of the labels.

    Args:
        dataset: Class in ``torchvision.datasets`` as ``type``, and its arguments.
        classes: Class names in the order of the labels, or a file of them for ``read_class_names``. ``imagenet``:
            OpenCLIP's names of ImageNet-1k's classes, for folders named by WordNet id; some classes may be absent.
            None: the data set's own names.
        captions: A template such as "a photo of a {}." that makes a caption from each image's class name, for training
            a teacher. Samples get a list ``captions``. None: no captions, so a student sees no label.
        pipeline: Transforms.
        test_mode: Accepted as in every data set; has no effect.

    Raises:
        FileNotFoundError: If the data do not exist, or a folder or class has no images.
        ValueError: If the type or an argument is unknown, the data set has no labels or images, or the class names do
            not fit.

    Examples:
        >>> dict(type='TorchvisionDataset', dataset=dict(type='CIFAR10', root='data/cifar10', train=False))
        >>> dict(type='TorchvisionDataset', dataset=dict(type='ImageFolder', root='data/imagenet/val'),
        ...      classes='imagenet')
    """

    def __init__(
        self,
        dataset: dict,
        classes: str | Sequence[str] | None = None,
        captions: str | None = None,
        pipeline: Sequence[dict] = (),
        test_mode: bool = False,
    ) -> None:
        arguments = dict(dataset)
        self.name, self.root = arguments.pop('type'), str(arguments.get('root', ''))
        self.data = open_torchvision(self.name, arguments)
        self.labels = read_labels(self.data, self.name)
        if not self.labels:
            raise ValueError(f'{self.where}: the split has no images')
        self.paths = self.read_paths()
        names = self.name_classes(classes)
        if max(self.labels) >= len(names):
            raise ValueError(f'{self.where}: classes has {len(names)} class names, but a label is {max(self.labels)}')
        if captions is not None and not (captions.count('{}') == captions.count('{') == captions.count('}') == 1):
            raise ValueError(f'captions: {captions!r} must have one "{{}}" for the class name, and no other braces')
        self.captions = captions
        self.metainfo = dict(classes=tuple(names))
        self.pipeline = Compose(list(pipeline))

    @property
    def where(self) -> str:
        """The type and folder, for messages."""
        return f'torchvision.datasets.{self.name} in "{self.root}"'

    def read_paths(self) -> list[str]:
        """Return the image files, or ``ROOT#INDEX`` for images without a file."""
        if hasattr(self.data, 'samples'):
            return [path for path, _ in self.data.samples]
        for field in FILE_FIELDS:
            if hasattr(self.data, field):
                return [str(path) for path in getattr(self.data, field)]
        return [f'{self.root}#{index}' for index in range(len(self.labels))]

    def name_classes(self, classes: str | Sequence[str] | None) -> list[str]:
        """Return the class names; see the argument ``classes``."""
        own = getattr(self.data, 'classes', None)
        if classes is None and own is None:
            raise ValueError(f'{self.where} has no class names; give classes=[...] or a file')
        if classes is None:
            return [name if isinstance(name, str) else name[0] for name in own]  # ImageNet has synonyms
        if classes == 'imagenet':
            return imagenet_names(getattr(self.data, 'wnids', own), self.where)
        source = f'"{classes}"' if isinstance(classes, str) else 'the list'
        names = read_class_names(classes) if isinstance(classes, str) else list(classes)
        if own is not None and len(names) != len(own):
            raise ValueError(
                f'classes: {source} has {len(names)} class names, but {self.where} has {len(own)} classes, from '
                f'{own[0]!r} to {own[-1]!r}; give one class name for each, in this order'
            )
        return names

    def __len__(self) -> int:
        return len(self.labels)

    def get_data_info(self, index: int) -> dict:
        """Return the data info of an image without reading it."""
        info = dict(img_path=self.paths[index], img_id=index, gt_label=self.labels[index])
        if self.captions is not None:
            info['captions'] = [self.captions.replace('{}', self.metainfo['classes'][self.labels[index]])]
        return info

    def __getitem__(self, index: int) -> dict:
        """Return the packed sample.

        Raises:
            BrokenImageError: If the image cannot be read; the message names it.
        """
        info = self.get_data_info(index)
        try:
            image = np.asarray(self.data[index][0].convert('RGB'))
        except Exception as error:  # decoders raise anything
            raise BrokenImageError(f'{info["img_path"]} cannot be read: {error}') from error
        shape = image.shape[:2]
        return self.pipeline(dict(info, img=np.ascontiguousarray(image[..., ::-1]), img_shape=shape, ori_shape=shape))

    def fingerprint(self) -> str | None:
        """Return a string that changes with the images or their order; None if that needs reading them."""
        if isinstance(getattr(self.data, 'data', None), np.ndarray):
            return hashlib.sha256(np.ascontiguousarray(self.data.data)).hexdigest()
        return fingerprint_files(self.paths)


def open_torchvision(name: str, arguments: dict) -> Dataset:
    """Build a data set of torchvision; see :class:`TorchvisionDataset`."""
    known = [each for each in torchvision.datasets.__all__ if each not in ('DatasetFolder', 'VisionDataset')]
    if name not in known:
        raise ValueError(f'dataset.type: torchvision.datasets has no {name!r}{suggest(name, known)}')
    root = arguments.get('root')
    if root is not None and not arguments.get('download') and not Path(root).is_dir():
        raise FileNotFoundError(f'{name}: folder "{root}" does not exist; put the data set there, or give --data-root')
    try:
        return getattr(torchvision.datasets, name)(**arguments)
    except RuntimeError as error:  # torchvision raises it for missing files and wrong checksums
        raise FileNotFoundError(f'{name}: "{root}" does not hold the data set: {error}') from error
    except TypeError as error:
        raise ValueError(f'dataset: {name} does not take these arguments: {error}') from error


def read_labels(data: Dataset, name: str) -> list[int]:
    """Return the labels of a data set of torchvision; see :class:`TorchvisionDataset`."""
    labels = next((getattr(data, field) for field in LABEL_FIELDS if hasattr(data, field)), [None])
    try:
        return [int(label) for label in labels]
    except (TypeError, ValueError):
        raise ValueError(f'dataset.type: torchvision.datasets.{name} has not one label an image') from None


def imagenet_names(wnids: Sequence[str] | None, where: str) -> list[str]:
    """Return OpenCLIP's names of ImageNet-1k's classes.

    Args:
        wnids: WordNet ids of some of the 1,000 classes. OpenCLIP's names are in the order of sorted ids.
        where: Source of the ids, for messages.

    Raises:
        ValueError: If an id is not of ImageNet-1k.
    """
    name_of = dict(zip(ImageNetInfo('imagenet-1k').label_names(), open_clip.IMAGENET_CLASSNAMES))
    unknown = [wnid for wnid in wnids or ['none'] if wnid not in name_of]
    if unknown:
        raise ValueError(
            f"classes='imagenet': {where} has classes that are no WordNet ids of ImageNet-1k: "
            f'{", ".join(unknown[:3])}; its folders must be named as n01440764'
        )
    return [name_of[wnid] for wnid in wnids]
