"""A student that has learnt nothing, and images of several kinds."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmyolo.registry import MODELS
from PIL import Image

from kdeov_mm.apis import KDEOVInferencer, load_model
from kdeov_mm.utils import load_config


@pytest.fixture(scope='session')
def trained(demo_config, shared_folder):
    """Config and checkpoint of a student that has learnt nothing."""

    def fill(folder):
        init_default_scope('mmyolo')
        cfg = demo_config()
        scoring = dict(lexicon=['dog', 'lamp'], background=0.0, image_background=0.1)
        cfg.model.update(scoring)  # random regions are like no name
        torch.manual_seed(0)
        cfg.dump(str(folder / 'config.py'))
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), folder / 'student.pth')

    folder = shared_folder('untrained_student', fill)
    init_default_scope('mmyolo')
    return str(folder / 'config.py'), str(folder / 'student.pth')


@pytest.fixture(scope='session')
def exported(trained, shared_folder):
    """A folder with the student's ONNX files: image encoder, open detector and text encoder."""
    pytest.importorskip('onnxruntime', reason='exported models need onnxruntime')
    pytest.importorskip('onnxscript', reason='export needs onnxscript')
    from kdeov_mm.deploy import export

    def fill(folder):
        cfg = load_config(trained[0])
        model = load_model(cfg, trained[1], None)
        metadata = export.describe(cfg, trained[1], None)
        export.export_image_encoder(model, folder / 'image_encoder.onnx', metadata)
        export.export_open_detector(model, folder / 'open_detector.onnx', metadata)
        encoder = model.text_encoder
        export.export_text_encoder(encoder, encoder.templates, folder / 'text_encoder.onnx', metadata)

    return shared_folder('untrained_student_exported', fill)


@pytest.fixture(scope='session')
def inferencer(trained):
    """The student; tests do not set its vocabulary."""
    return KDEOVInferencer(*trained, device='cpu', batch_size=2)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder in the present one: three images of several sizes, the last turned by its EXIF data, and a text."""
    monkeypatch.chdir(tmp_path)
    rng, folder = np.random.default_rng(0), tmp_path / 'photos'
    folder.mkdir()
    for name, (width, height) in {'a.jpg': (90, 50), 'b.png': (64, 64), 'turned.jpg': (80, 40)}.items():
        exif = Image.Exif()
        exif[0x0112] = 6 if name == 'turned.jpg' else 1
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name, exif=exif)
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture
def broken(photos):
    """An incomplete image among the photos."""
    path = photos / 'broken.jpg'
    path.write_bytes((photos / 'a.jpg').read_bytes()[:300])
    return path
