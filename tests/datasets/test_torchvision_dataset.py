import shutil
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
import torchvision
from mmyolo.registry import DATASETS
from PIL import Image

from kdeov_mm.utils.image_files import BrokenImageError
from kdeov_mm.datasets.torchvision_dataset import read_labels

PACK = dict(type='mmdet.PackDetInputs', meta_keys=('img_path', 'img_id', 'gt_label', 'ori_shape'))


def build(kind, root, classes=None, pipeline=(PACK,), **kwargs):
    return DATASETS.build(
        dict(
            type='TorchvisionDataset',
            dataset=dict(type=kind, root=str(root), **kwargs),
            classes=classes,
            pipeline=list(pipeline),
        )
    )


@pytest.mark.usefixtures('mmyolo_scope')
class TestTorchvisionDataset:
    def test_cifar(self, cifar10, cifar_images):
        images, labels, names = cifar_images
        dataset = build('CIFAR10', cifar10, train=False)
        assert dataset.metainfo == dict(classes=tuple(names)) and len(dataset) == len(labels) == 120
        packed = dataset[37]
        sample = packed['data_samples']
        assert packed['inputs'].flip(0).permute(1, 2, 0).numpy().tolist() == images[37].tolist()
        assert (sample.gt_label, sample.img_id, sample.ori_shape) == (labels[37], 37, (32, 32))
        assert sample.img_path == f'{cifar10}#37'

    def test_cifar100(self, cifar100):
        dataset = build('CIFAR100', cifar100, train=False)
        assert len(dataset.metainfo['classes']) == 100 and dataset[3]['data_samples'].gt_label == 0

    def test_folder_equals_torchvision(self, cifar_folder):
        dataset = build('ImageFolder', cifar_folder / 'test')
        reference = torchvision.datasets.ImageFolder(str(cifar_folder / 'test'))
        assert list(dataset.metainfo['classes']) == reference.classes
        for index in (0, 50, 119):
            image, label = reference[index]
            packed = dataset[index]
            assert np.array_equal(packed['inputs'].flip(0).permute(1, 2, 0).numpy(), np.asarray(image))
            assert packed['data_samples'].gt_label == label
            assert packed['data_samples'].img_path == reference.samples[index][0]

    def test_captions_are_of_the_class_names(self, cifar_folder):
        source = dict(type='TorchvisionDataset', dataset=dict(type='ImageFolder', root=str(cifar_folder / 'test')))
        dataset = DATASETS.build(dict(source, captions='a photo of a {}'))
        assert dataset.get_data_info(0)['captions'] == ['a photo of a airplane']
        assert dataset.get_data_info(119)['captions'] == ['a photo of a truck']
        assert 'captions' not in DATASETS.build(source).get_data_info(0)
        with pytest.raises(ValueError, match='captions.*a photo.*{}'):
            DATASETS.build(dict(source, captions='a photo'))

    def test_imagenet_names(self, imagenet_val, tmp_path):
        dataset = build('ImageFolder', imagenet_val, classes='imagenet')
        assert dataset.metainfo['classes'] == tuple(open_clip.IMAGENET_CLASSNAMES)
        # The sample's file names tell the class in words, in another source's spelling.
        for wnid, name in (('n01440764', 'tench'), ('n02123045', 'tabby cat'), ('n15075141', 'toilet paper')):
            label = next(i for i, path in enumerate(dataset.paths) if wnid in path)
            assert dataset.metainfo['classes'][dataset.labels[label]] == name
        for wnid in ('n02123045', 'n15075141'):
            shutil.copytree(imagenet_val / wnid, tmp_path / 'part' / wnid)
        assert build('ImageFolder', tmp_path / 'part', 'imagenet').metainfo['classes'] == ('tabby cat', 'toilet paper')

    def test_imagenet_of_torchvision(self, imagenet_val, tmp_path):
        for wnid in ('n02123045', 'n15075141'):
            shutil.copytree(imagenet_val / wnid, tmp_path / 'val' / wnid)
        synonyms = dict(n02123045=('tabby', 'tabby cat'), n15075141=('toilet tissue', 'toilet paper'))
        torch.save((synonyms, []), tmp_path / 'meta.bin')
        assert build('ImageNet', tmp_path, 'imagenet', split='val').metainfo['classes'] == ('tabby cat', 'toilet paper')
        assert build('ImageNet', tmp_path, split='val').metainfo['classes'] == ('tabby', 'toilet tissue')

    def test_names(self, cifar_folder, tmp_path):
        root = cifar_folder / 'test'
        (tmp_path / 'names.txt').write_text('\n'.join(f'name {i}' for i in range(10)))
        assert build('ImageFolder', root, str(tmp_path / 'names.txt')).metainfo['classes'][3] == 'name 3'
        assert build('ImageFolder', root, list('abcdefghij')).metainfo['classes'][3] == 'd'

    def test_bad_input(self, cifar_folder, tmp_path):
        root = cifar_folder / 'test'
        (tmp_path / 'empty').mkdir()
        (tmp_path / 'hollow' / 'cat').mkdir(parents=True)
        for error, named, arguments in (
            (FileNotFoundError, 'gone', ('ImageFolder', tmp_path / 'gone')),
            (FileNotFoundError, 'empty', ('ImageFolder', tmp_path / 'empty')),
            (FileNotFoundError, r'\bcat\b', ('ImageFolder', tmp_path / 'hollow')),
            (FileNotFoundError, 'empty', ('CIFAR10', tmp_path / 'empty')),
            (ValueError, "'CIFAR11'.*CIFAR10", ('CIFAR11', root)),
            (
                ValueError,
                r"\b2\b.*ImageFolder.*\b10\b.*'airplane'.*'truck'",
                ('ImageFolder', root, ['cat', 'dog']),
            ),
            (ValueError, 'airplane', ('ImageFolder', root, 'imagenet')),
            (FileNotFoundError, 'names.txt', ('ImageFolder', root, str(tmp_path / 'names.txt'))),
        ):
            with pytest.raises(error, match=named):
                build(*arguments)
        for data in (SimpleNamespace(), SimpleNamespace(targets=[['a.png', 'b.png']])):
            with pytest.raises(ValueError, match='VOC'):
                read_labels(data, 'VOC')
        with pytest.raises(ValueError, match='traln'):
            build('CIFAR10', root, traln=False)

    def test_a_class_may_be_missing(self, cifar_folder, tmp_path):
        root = tmp_path / 'test'
        shutil.copytree(cifar_folder / 'test', root)
        shutil.rmtree(root / 'dog')
        (root / 'dog').mkdir()
        dataset = build('ImageFolder', root, allow_empty=True)
        assert len(dataset) == 108 and 'dog' in dataset.metainfo['classes'] and 5 not in dataset.labels

    def test_broken_image_is_named(self, cifar_folder, tmp_path):
        root = tmp_path / 'test'
        shutil.copytree(cifar_folder / 'test', root)
        path = root / 'cat' / '0003.jpg'
        path.write_bytes(path.read_bytes()[:300])
        dataset = build('ImageFolder', root)
        with pytest.raises(BrokenImageError, match='cat/0003.jpg'):
            dataset[dataset.paths.index(str(path))]

    def test_fingerprint(self, cifar_folder, cifar10, tmp_path):
        root = tmp_path / 'test'
        shutil.copytree(cifar_folder / 'test', root)
        first = build('ImageFolder', root).fingerprint()
        assert build('ImageFolder', root, list('abcdefghij')).fingerprint() == first, 'names are no images'
        Image.new('RGB', (8, 8)).save(root / 'cat' / '0003.jpg')
        assert build('ImageFolder', root).fingerprint() != first
        assert build('CIFAR10', cifar10, train=False).fingerprint() != build('CIFAR10', cifar10).fingerprint()
