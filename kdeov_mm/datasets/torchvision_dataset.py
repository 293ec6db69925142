"""torchvision's data sets of classified images."""

import hashlib
from pathlib import Path
from typing import List, Optional, Sequence, Union

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


LABEL_FIELDS = ('targets', '_labels', 'labels')  # what torchvision's data sets call them
FILE_FIELDS = ('_image_files', '_images')


@DATASETS.register_module()
class TorchvisionDataset(Dataset):
    """A data set of ``torchvision.datasets`` with one label an image, such as CIFAR10, CIFAR100, ImageNet, ImageFolder.

    A sample that enters the pipeline holds ``img`` (BGR uint8 ``[H, W, 3]``, so that no transform needs to load it),
    ``img_path`` (of an image that has no file ``ROOT#INDEX``), ``img_id`` (its index) and ``gt_label``, which
    ``PackDetInputs`` needs in its ``meta_keys``. ``metainfo['classes']`` are the names of the labels.

    Args:
        dataset: ``type``, the class in ``torchvision.datasets``, and its arguments.
        classes: Names in the order of the labels, or a file of them for ``read_class_names``. ``imagenet``: OpenCLIP's
            names of ImageNet-1k's classes, for folders named by WordNet id, of which some may be absent. None: the
            data set's own names.
        captions: A template such as "a photo of a {}." that makes a caption of each image's class name, for the
            training of a teacher; in the pipeline it is ``captions``, a list. None: no captions, and a student sees no
            label.
        pipeline: Transforms.
        test_mode: Part of every data set's config; makes no difference here.

    Raises:
        FileNotFoundError: The data are not there, or a folder or class has no images.
        ValueError: An unknown type or argument, a data set without labels or images, or names that do not fit it.

    Examples:
        >>> dict(type='TorchvisionDataset', dataset=dict(type='CIFAR10', root='data/cifar10', train=False))
        >>> dict(type='TorchvisionDataset', dataset=dict(type='ImageFolder', root='data/imagenet/val'),
        ...      classes='imagenet')
    """

    def __init__(
        self,
        dataset: dict,
        classes: Union[str, Sequence[str], None] = None,
        captions: Optional[str] = None,
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
            raise ValueError(f'{self.where}: classes has {len(names)} names, but a label is {max(self.labels)}')
        if captions is not None and not (captions.count('{}') == captions.count('{') == captions.count('}') == 1):
            raise ValueError(
                f'captions: {captions!r} has no "{{}}" for the name of the class, or other braces beside it'
            )
        self.captions = captions
        self.metainfo = dict(classes=tuple(names))
        self.pipeline = Compose(list(pipeline))

    @property
    def where(self) -> str:
        """Type and folder, for messages."""
        return f'torchvision.datasets.{self.name} in "{self.root}"'

    def read_paths(self) -> List[str]:
        """The image files, or a number for each image that is in none."""
        if hasattr(self.data, 'samples'):
            return [path for path, _ in self.data.samples]
        for field in FILE_FIELDS:
            if hasattr(self.data, field):
                return [str(path) for path in getattr(self.data, field)]
        return [f'{self.root}#{index}' for index in range(len(self.labels))]

    def name_classes(self, classes: Union[str, Sequence[str], None]) -> List[str]:
        """See ``classes`` of the class."""
        own = getattr(self.data, 'classes', None)
        if classes is None and own is None:
            raise ValueError(f'{self.where} does not name its classes; give classes=[...] or a file')
        if classes is None:
            return [name if isinstance(name, str) else name[0] for name in own]  # ImageNet has synonyms
        if classes == 'imagenet':
            return imagenet_names(getattr(self.data, 'wnids', own), self.where)
        source = f'"{classes}"' if isinstance(classes, str) else 'the list'
        names = read_class_names(classes) if isinstance(classes, str) else list(classes)
        if own is not None and len(names) != len(own):
            raise ValueError(
                f'classes: {source} has {len(names)} names, but {self.where} has {len(own)} classes, from '
                f'{own[0]!r} to {own[-1]!r}; give one name for each, in this order'
            )
        return names

    def __len__(self) -> int:
        return len(self.labels)

    def get_data_info(self, index: int) -> dict:
        """What is known of an image without reading it."""
        info = dict(img_path=self.paths[index], img_id=index, gt_label=self.labels[index])
        if self.captions is not None:
            info['captions'] = [self.captions.replace('{}', self.metainfo['classes'][self.labels[index]])]
        return info

    def __getitem__(self, index: int) -> dict:
        """The packed sample.

        Raises:
            BrokenImageError: The image cannot be read; names it.
        """
        info = self.get_data_info(index)
        try:
            image = np.asarray(self.data[index][0].convert('RGB'))
        except Exception as error:  # decoders raise anything
            raise BrokenImageError(f'{info["img_path"]} cannot be read: {error}') from error
        shape = image.shape[:2]
        return self.pipeline(dict(info, img=np.ascontiguousarray(image[..., ::-1]), img_shape=shape, ori_shape=shape))

    def fingerprint(self) -> Optional[str]:
        """What changes with the images or their order; None where that is not known without reading them."""
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
    except RuntimeError as error:  # what torchvision raises where files are missing or fail their checksum
        raise FileNotFoundError(f'{name}: "{root}" does not hold the data set: {error}') from error
    except TypeError as error:
        raise ValueError(f'dataset: {name} does not take these arguments: {error}') from error


def read_labels(data: Dataset, name: str) -> List[int]:
    """The labels of a data set of torchvision; see :class:`TorchvisionDataset`."""
    found = next((getattr(data, field) for field in LABEL_FIELDS if hasattr(data, field)), [None])
    try:
        return [int(label) for label in found]
    except (TypeError, ValueError):
        raise ValueError(f'dataset.type: torchvision.datasets.{name} has not one label an image') from None


def imagenet_names(wnids: Optional[Sequence[str]], where: str) -> List[str]:
    """OpenCLIP's names of ImageNet-1k's classes.

    Args:
        wnids: WordNet ids, any of the 1,000. Sorted, these are the order of OpenCLIP's names.
        where: For the message.

    Raises:
        ValueError: One is not of ImageNet-1k.
    """
    name_of = dict(zip(ImageNetInfo('imagenet-1k').label_names(), open_clip.IMAGENET_CLASSNAMES))
    unknown = [wnid for wnid in wnids or ['none'] if wnid not in name_of]
    if unknown:
        raise ValueError(
            f"classes='imagenet': {where} has classes that are no WordNet ids of ImageNet-1k: "
            f'{", ".join(unknown[:3])}; its folders must be named as n01440764'
        )
    return [name_of[wnid] for wnid in wnids]
