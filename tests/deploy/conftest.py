"""A small student with a vocabulary, its exported files, and real images as a network's input."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from kdeov_mm.deploy import export, read_image
from kdeov_mm.models import TextBank
from mmdet.structures import DetDataSample
from mmyolo.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
NAMES = ['red circle', 'dog', 'a very small cup', 'person', 'striped blue star', 'bus', 'cat']


def random_student(seed=0, **changes):
    """The demo's student with random weights, statistics of norms and FiLM, whose scores pass the threshold."""
    init_default_scope('mmyolo')
    cfg = Config(dict(model=Config.fromfile(ROOT / 'configs' / 'kdeov_yolov8n.py').model))
    changes = (
        dict(lexicon=['dog', 'lamp'], background=0.0, image_background=0.01) | changes
    )  # random embeddings are not similar
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    if model.fusion is not None:
        for parameter in model.fusion.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    model.eval()
    texts = torch.nn.functional.normalize(torch.randn(len(NAMES), model.embed_dims), dim=1)
    model.set_vocabulary(TextBank(NAMES, texts))
    return model


@pytest.fixture(scope='session')
def make_student():
    return random_student


@pytest.fixture(scope='session')
def student():
    return random_student()


@pytest.fixture(scope='session')
def demo_student():
    """The trained demo, as it is shipped, with eight of its concepts."""
    from kdeov_mm.apis import build_vocabulary, load_model
    from kdeov_mm.utils import load_config
    from kdeov_mm.utils.model_index import find_model

    demo = find_model('kdeov_yolov8n')
    cfg = load_config(demo.config)
    bank = build_vocabulary(
        cfg, [f'{colour} {shape}' for colour in ('red', 'blue') for shape in ('circle', 'star', 'square', 'triangle')]
    )
    # Photographs show none of its classes. Here the classes compete with each other, so that much is detected.
    cfg.model.update(lexicon=None, background=None)
    model = load_model(cfg, demo.weights, bank)
    model.bbox_head.test_cfg.nms.class_agnostic = False
    return model


def files_of(folder):
    return {kind: folder / f'{kind}.onnx' for kind in ('image_encoder', 'detector', 'open_detector')}


@pytest.fixture(scope='session')
def export_all():
    """Writes a model's three kinds of files into a folder and returns ``{kind: path}``."""

    def export_all(model, folder):
        metadata = dict(
            embed_dims=str(model.embed_dims),
            text_space='kdeov-shapes:random',
            preprocessing=json.dumps(dict(size=[128, 128], resize='stretch')),
        )
        export.export_image_encoder(model, folder / 'image_encoder.onnx', metadata)
        export.export_detector(model, folder / 'detector.onnx', metadata)
        export.export_open_detector(model, folder / 'open_detector.onnx', metadata)
        return files_of(folder)

    return export_all


@pytest.fixture(scope='session')
def exported(student, export_all, shared_folder):
    """The files of the random student: ``{kind: path}``."""
    return files_of(shared_folder('random_student', lambda folder: export_all(student, folder)))


@pytest.fixture(scope='session')
def real_images(coco_mini):
    """100 real images, letterboxed to 160 x 160 pixels: float32 ``[100, 3, 160, 160]`` in [0, 1]."""
    from PIL import Image

    paths = [path for split in ('val2017', 'train2017') for path in sorted((coco_mini / split).glob('*.jpg'))][:100]
    assert len(paths) == 100
    batch = np.full((100, 3, 160, 160), 114 / 255, np.float32)
    for canvas, path in zip(batch, paths):
        image = Image.fromarray(read_image(path, min_size=160))
        image.thumbnail((160, 160))
        canvas[:, : image.height, : image.width] = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
    return torch.from_numpy(batch)


@pytest.fixture(scope='session')
def predict():
    """Detections of a model of MMDetection, in pixels of the network's input."""

    @torch.no_grad()
    def predict(model, images):
        shape = tuple(images.shape[2:])
        meta = dict(ori_shape=shape, img_shape=shape, scale_factor=(1.0, 1.0))
        samples = model.predict(images, [DetDataSample(metainfo=meta) for _ in images], rescale=False)
        return [
            dict(
                boxes=s.pred_instances.bboxes.numpy(),
                scores=s.pred_instances.scores.numpy(),
                labels=s.pred_instances.labels.numpy(),
            )
            for s in samples
        ]

    return predict
