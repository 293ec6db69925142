"""What the teacher sees of letterboxed, padded and flipped images."""

import mmcv
import numpy as np
import open_clip
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from kdeov_mm.models import OpenCLIPTeacher
from kdeov_mm.models.clip import teacher_view

pytestmark = pytest.mark.usefixtures('mmyolo_scope')
CPU = torch.device('cpu')


@pytest.fixture
def image_file(tmp_path):
    def make(height, width):
        path = tmp_path / f'{height}x{width}.png'
        y, x = np.mgrid[:height, :width]
        mmcv.imwrite(np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), x * y % 97 + 9], -1), str(path))
        return str(path)

    return make


def letterboxed(path, size, direction=None, keys=('pad_param', 'img_shape', 'flip', 'flip_direction')):
    from mmyolo.registry import TRANSFORMS

    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='YOLOv5KeepRatioResize', scale=(size, size)),
        dict(type='LetterResize', scale=(size, size), allow_scale_up=False, pad_val=dict(img=114)),
        dict(type='mmdet.RandomFlip', prob=1.0 if direction else 0.0, direction=direction or 'horizontal'),
        dict(type='mmdet.PackDetInputs', meta_keys=keys),
    ]
    return Compose([TRANSFORMS.build(step) for step in steps])(dict(img_path=path))


@pytest.mark.parametrize('shape', [(64, 64), (64, 33), (41, 64), (31, 64)], ids=str)
@pytest.mark.parametrize('direction', [None, 'horizontal', 'vertical', 'diagonal'])
def test_a_letterboxed_image_is_seen_without_its_border(image_file, shape, direction):
    path = image_file(*shape)  # the longer side has the size already: nothing is resized
    sample = letterboxed(path, 64, direction)
    assert sample['inputs'].shape == (3, 64, 64)
    (view,) = teacher_view([sample['inputs']], [sample['data_samples']], CPU)
    expected = np.asarray(Image.open(path))
    axes = dict(horizontal=(1,), vertical=(0,), diagonal=(0, 1)).get(direction, ())
    expected = torch.from_numpy(np.flip(expected, axes).copy()).permute(2, 0, 1) / 255
    assert view.shape == expected.shape and torch.equal(view, expected)


def test_the_teachers_embedding_is_open_clips_of_the_same_picture(image_file, tiny_teacher):
    path = image_file(64, 40)
    sample = letterboxed(path, 64)
    view = teacher_view([sample['inputs']], [sample['data_samples']], CPU)
    found = OpenCLIPTeacher('kdeov-shapes', tiny_teacher).encode_image(view)
    model = open_clip.create_model('kdeov-shapes', pretrained=tiny_teacher).eval()
    with torch.no_grad():
        preprocess = image_transform_v2(PreprocessCfg(size=64), is_train=False)
        expected = model.encode_image(preprocess(Image.open(path).convert('RGB'))[None])
    assert torch.cosine_similarity(found, expected).item() > 0.9999


def test_without_pad_param_all_is_seen(image_file):
    sample = letterboxed(image_file(40, 64), 64, keys=('img_shape',))
    assert teacher_view([sample['inputs']], [sample['data_samples']], CPU)[0].shape == (3, 64, 64)


def test_the_padding_of_a_stacked_batch_is_not_seen():
    batch = torch.zeros(2, 3, 32, 64, dtype=torch.uint8)
    batch[0, :, :, :] = 200
    batch[1, :, :20, :50] = 100
    samples = [DetDataSample(metainfo=dict(img_shape=shape)) for shape in ((32, 64), (20, 50, 3))]
    views = teacher_view(batch, samples, CPU)
    assert [tuple(view.shape) for view in views] == [(3, 32, 64), (3, 20, 50)]
    assert all((view == value / 255).all() for view, value in zip(views, (200, 100)))
