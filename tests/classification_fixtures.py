"""Real images in torchvision's layouts."""

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from mmengine.config import Config
from PIL import Image

from kdeov_mm.utils import load_config

PER_CLASS = 12
CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def unpack(archive: Path, root: Path, wanted) -> Path:
    """The members of an archive that ``wanted`` chooses."""
    if not archive.is_file():
        pytest.skip(f'no real sample at {archive}')
    with tarfile.open(archive) as file:
        file.extractall(root, [member for member in file.getmembers() if wanted(member.name)], filter='data')
    return root


@pytest.fixture(scope='session')
def cifar_folder(real_data, tmp_path_factory) -> Path:
    """CIFAR-10's images as an image folder: ``{train,test}/<class>/NNNN.jpg``, a dozen of each class."""
    archive = real_data / 'cifar10' / 'cifar10_images.tar.gz'
    root = tmp_path_factory.mktemp('cifar')
    return unpack(archive, root, lambda name: name.endswith('.jpg') and int(Path(name).stem) < PER_CLASS) / 'cifar10'


@pytest.fixture(scope='session')
def imagenet_val(real_data, tmp_path_factory) -> Path:
    """One image of each ImageNet class: ``<wnid>/*.JPEG``."""
    archive = real_data / 'imagenet_sample' / 'imagenet_sample.tar.gz'
    return unpack(archive, tmp_path_factory.mktemp('imagenet'), lambda name: True) / 'imagenet_sample' / 'val'


def write_cifar(root: Path, images: np.ndarray, labels: list, names: list, cifar100: bool = False) -> None:
    """A test split in the layout of CIFAR-10 or CIFAR-100; images uint8 RGB ``[N, 32, 32, 3]``."""
    folder = root / ('cifar-100-python' if cifar100 else 'cifar-10-batches-py')
    folder.mkdir(parents=True)
    kind = 'fine_labels' if cifar100 else 'labels'
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    content = {'data': rows, kind: labels}
    for name in ('train', 'test') if cifar100 else [f'data_batch_{i}' for i in range(1, 6)] + ['test_batch']:
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / ('meta' if cifar100 else 'batches.meta')).write_bytes(
        pickle.dumps({'fine_label_names' if cifar100 else 'label_names': names})
    )


@pytest.fixture(scope='session')
def cifar_images(cifar_folder):
    """Images, labels and names of the test split."""
    names = sorted(path.name for path in (cifar_folder / 'test').iterdir())
    paths = [
        (path, label) for label, name in enumerate(names) for path in sorted((cifar_folder / 'test' / name).iterdir())
    ]
    return np.stack([np.asarray(Image.open(path)) for path, _ in paths]), [label for _, label in paths], names


@pytest.fixture
def cifar10(cifar_images, tmp_path, monkeypatch) -> Path:
    """CIFAR-10's own layout, with few images; torchvision's checksums are of the whole and are left out."""
    monkeypatch.setattr(torchvision.datasets.CIFAR10, '_check_integrity', lambda self: True)
    monkeypatch.setattr('torchvision.datasets.cifar.check_integrity', lambda *args: True)
    root = tmp_path / 'cifar10'
    write_cifar(root, *cifar_images)
    return root


@pytest.fixture
def cifar100(cifar_images, tmp_path, monkeypatch) -> Path:
    """CIFAR-100's own layout, with CIFAR-10's images."""
    monkeypatch.setattr(torchvision.datasets.CIFAR10, '_check_integrity', lambda self: True)
    monkeypatch.setattr('torchvision.datasets.cifar.check_integrity', lambda *args: True)
    images, labels, names = cifar_images
    root = tmp_path / 'cifar100'
    write_cifar(root, images, labels, [*names, *(f'class_{i}' for i in range(90))], cifar100=True)
    return root


@pytest.fixture
def zero_shot_config(tiny_teacher, tmp_path_factory, monkeypatch):
    """Makes a config of ``configs/zero_shot`` on a data root, with the tiny teacher's text encoder."""
    monkeypatch.setattr(Config, 'pretty_text', property(str))  # which takes seconds for the log

    def make(name, root, folder='zero_shot'):
        work_dir = tmp_path_factory.mktemp('run')
        cfg = load_config(str(CONFIGS / folder / f'{name}.py'), data_root=str(root), work_dir=str(work_dir))
        for loader, metric in zip(cfg.test_dataloader, cfg.test_evaluator):
            loader.update(num_workers=0, batch_size=32)
            loader.dataset.pipeline[0].scale = (32, 32)
            metric.update(templates='single')
        cfg.model.text_encoder.pretrained = tiny_teacher
        cfg.log_level = 'WARNING'
        cfg.experiment_name = work_dir.name
        return cfg

    return make
