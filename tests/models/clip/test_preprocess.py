"""The teacher's preprocessing against OpenCLIP's own, on PIL images."""

import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from kdeov_mm.models.clip.preprocess import Preprocess, find_preprocess

SIGLIP = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def picture(height, width, low=0, high=255):
    """Smooth shapes, sharp edges and some noise, in 8 bits."""
    rng = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.cos(y / 7), (x * 3 + y * 5) % 256], -1)
    smooth[height // 4 : height // 2, width // 3 : width // 2] = (255, 0, 128)
    return (np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255) * (high - low) / 255 + low).astype(np.uint8)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(),
        dict(resize_mode='squash', interpolation='bicubic', **SIGLIP),
        dict(resize_mode='squash', interpolation='bilinear', **SIGLIP),
        dict(resize_mode='longest'),
        dict(resize_mode='longest', interpolation='bilinear', fill_color=127),
        dict(interpolation='bilinear', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        dict(size=(48, 80), interpolation='bilinear'),
        dict(size=(48, 80), resize_mode='longest'),
    ],
    ids=str,
)
@pytest.mark.parametrize('shape', [(64, 64), (128, 128), (97, 150), (150, 97), (40, 64), (31, 200)], ids=str)
def test_it_is_open_clips(cfg, shape):
    cfg = PreprocessCfg(**{'size': 64, **cfg})
    for low, high, allowed in ((60, 190, 0), (0, 255, 0.01)):  # PIL rounds, and clips overshoots, after either axis
        image = picture(*shape, low, high)
        expected = image_transform_v2(cfg, is_train=False)(Image.fromarray(image))
        found = Preprocess(cfg)(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0]
        assert found.shape == expected.shape
        levels = (found - expected).abs() * torch.tensor(cfg.std).view(3, 1, 1) * 255
        assert (levels > 1.5).float().mean() <= allowed and levels.mean() < 0.5


@pytest.mark.parametrize(
    'model_name, pretrained', [('RN50', None), ('ViT-B-32', None), ('kdeov-shapes', None), ('MobileCLIP-S1', None)]
)
def test_what_is_found_without_loading_is_what_the_loaded_model_says(model_name, pretrained):
    said = open_clip.create_model(model_name, pretrained=pretrained).visual.preprocess_cfg
    size = said['size']
    expected = {**said, 'size': (size, size) if isinstance(size, int) else size}
    assert vars(find_preprocess(model_name, pretrained)) == expected


@pytest.mark.parametrize(
    'model_name, tag, expected',
    [
        ('ViT-B-32', 'laion2b_s34b_b79k', dict(mean=open_clip.OPENAI_DATASET_MEAN, resize_mode='shortest')),
        ('ViT-B-16-SigLIP', 'webli', dict(mean=(0.5, 0.5, 0.5), interpolation='bicubic', resize_mode='squash')),
        (
            'MobileCLIP-S1',
            'datacompdr',
            dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation='bilinear', size=(256, 256)),
        ),
    ],
)
def test_a_tag_brings_its_own(model_name, tag, expected):
    found = vars(find_preprocess(model_name, tag))
    assert {name: found[name] for name in expected} == expected


def test_a_model_folder_brings_its_own_and_changes_win(tmp_path):
    config = dict(
        model_cfg=open_clip.get_model_config('ViT-B-16-SigLIP'), preprocess_cfg=dict(SIGLIP, resize_mode='squash')
    )
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(config))
    found = find_preprocess(f'local-dir:{tmp_path}', changes=dict(resize_mode='longest'))
    assert tuple(found.mean) == (0.5, 0.5, 0.5) and found.size == (224, 224) and found.resize_mode == 'longest'


@pytest.mark.parametrize(
    'changes, named',
    [
        (dict(size=32), r'\bsize\b'),
        (dict(resize_mode='crop'), "resize_mode.*squash.*'crop'"),
        (dict(interpolation='nearest'), 'interpolation'),
        (dict(mean=(0.5,)), 'mean'),
    ],
)
def test_changes_that_cannot_be(changes, named):
    with pytest.raises(ValueError, match=named):
        find_preprocess('ViT-B-32', changes=changes)
