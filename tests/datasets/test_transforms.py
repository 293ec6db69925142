"""The crop that never cuts an object."""

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmyolo.registry import TRANSFORMS

from kdeov_mm.datasets import ObjectSafeCrop


def make(width, height, boxes):
    """An image whose pixels hold their own x and y, with boxes xyxy."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)
    boxes = HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    return dict(img=image, img_shape=(height, width), gt_bboxes=boxes)


def random_boxes(rng, number, width, height):
    corners = np.sort(rng.integers(0, [[width - 2], [height - 2]], (number, 2, 2)), axis=-1)
    return [[x1, y1, x2 + 2, y2 + 2] for (x1, x2), (y1, y2) in corners.tolist()]


@pytest.mark.parametrize('number', [1, 3])
def test_boxes_stay_whole_and_on_their_pixels(number):
    rng = np.random.default_rng(0)
    np.random.seed(0)
    cropped = 0
    for _ in range(200):
        boxes = random_boxes(rng, number, 100, 80)
        results = ObjectSafeCrop(prob=1.0)(make(100, 80, boxes))
        image, moved = results['img'], results['gt_bboxes'].tensor.int().tolist()
        height, width = image.shape[:2]
        assert results['img_shape'] == (height, width)
        cropped += (width, height) != (100, 80)
        for (x1, y1, x2, y2), (u1, v1, u2, v2) in zip(boxes, moved):
            assert 0 <= u1 < u2 <= width and 0 <= v1 < v2 <= height
            assert image[v1, u1].tolist() == [x1, y1, 0]
            assert image[v2 - 1, u2 - 1].tolist() == [x2 - 1, y2 - 1, 0]
    assert cropped > 100


def test_boxes_between_pixels_lose_less_than_a_pixel():
    rng = np.random.default_rng(1)
    np.random.seed(1)
    for _ in range(200):
        x1, y1 = rng.uniform(0, 60, 2)
        results = ObjectSafeCrop(prob=1.0)(make(100, 80, [[x1, y1, x1 + 15.3, y1 + 15.3]]))
        height, width = results['img'].shape[:2]
        u1, v1, u2, v2 = results['gt_bboxes'].tensor[0].tolist()
        assert min(u1, v1) >= -0.51 and u2 <= width + 0.51 and v2 <= height + 0.51


def test_the_crop_has_its_least_side():
    rng = np.random.default_rng(2)
    np.random.seed(2)
    sides = []
    for _ in range(200):
        x1, y1 = rng.integers(0, [95, 75])
        sides += ObjectSafeCrop(prob=1.0, min_side=24)(make(100, 80, [[x1, y1, x1 + 4, y1 + 4]]))['img_shape']
    assert min(sides) >= 24


def test_an_image_without_boxes_is_cropped_too():
    np.random.seed(0)
    shapes = []
    for _ in range(50):
        results = ObjectSafeCrop(prob=1.0)(make(100, 80, []))
        assert len(results['gt_bboxes']) == 0 and results['img'].shape[:2] == results['img_shape']
        shapes.append(results['img_shape'])
    assert len(set(shapes)) > 10 and min(map(min, shapes)) >= 24


def test_an_image_smaller_than_the_least_side_stays():
    np.random.seed(0)
    assert ObjectSafeCrop(prob=1.0, min_side=24)(make(20, 16, []))['img_shape'] == (16, 20)


@pytest.mark.parametrize('prob, low, high', [(0.0, 0, 0), (0.5, 60, 140), (1.0, 195, 200)])
def test_the_share_of_cropped_images(prob, low, high):
    np.random.seed(0)
    crop = TRANSFORMS.build(dict(type='ObjectSafeCrop', prob=prob))
    cropped = [crop(make(100, 80, [[40, 30, 60, 50]]))['img_shape'] != (80, 100) for _ in range(200)]
    assert low <= sum(cropped) <= high
