"""A small student that every model test builds the same way."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import kdeov_mm  # noqa: F401
from mmdet.structures import DetDataSample
from mmyolo.registry import MODELS


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmyolo')


@pytest.fixture
def student_cfg():
    """The config of the demo's student."""
    return Config.fromfile('configs/kdeov_yolov8n.py').model


@pytest.fixture
def build_student(student_cfg):
    """Builds the demo's student with seeded weights; ``changes`` are dotted config fields."""

    def build(seed=0, **changes):
        torch.manual_seed(seed)
        cfg = Config(dict(model=student_cfg))
        cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
        model = MODELS.build(cfg.model)
        model.init_weights()
        return model

    return build


@pytest.fixture
def make_samples():
    """Data samples as training gives them: two boxes in the first image, none in the others."""

    def make(number, size=64, labels=(0, 1)):
        samples = []
        for i in range(number):
            boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0], [32.0, 20.0, 60.0, 60.0]]) if i == 0 else torch.zeros(0, 4)
            label = torch.tensor(labels) if i == 0 else torch.zeros(0, dtype=torch.long)
            sample = DetDataSample(
                metainfo=dict(
                    img_shape=(size, size),
                    ori_shape=(size, size),
                    batch_input_shape=(size, size),
                    scale_factor=(1.0, 1.0),
                )
            )
            sample.gt_instances = InstanceData(bboxes=boxes, labels=label)
            samples.append(sample)
        return samples

    return make


@pytest.fixture
def texts():
    """Normalised embeddings ``[5, 128]`` in place of a vocabulary's."""
    return torch.nn.functional.normalize(torch.randn(5, 128, generator=torch.Generator().manual_seed(1)), dim=-1)
