"""What eight bits cost the trained demo: AP by pycocotools, and the cosine of embeddings."""

import copy
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdeov_mm.apis import build_vocabulary
from kdeov_mm.benchmarks.agreement import cosines
from kdeov_mm.deploy import Runtime, export, read_image
from kdeov_mm.deploy.quantize import RUNTIMES, quantize
from kdeov_mm.utils import load_config
from kdeov_mm.utils.model_index import find_model

pytestmark = pytest.mark.slow
EVALUATED, CALIBRATION = slice(0, 200), slice(200, 800)  # of the test images; with 400, one in 200 has 0.984


@pytest.fixture(scope='module')
def truth(demo_world):
    """The demo's test images, and what is in them."""
    root = demo_world('test')
    return root / 'test', COCO(root / 'annotations' / 'instances_test.json')


@pytest.fixture(scope='module')
def files(demo_student, truth, tmp_path_factory):
    """The demo's detector of all its names, and its image encoder."""
    folder, model = tmp_path_factory.mktemp('demo'), copy.deepcopy(demo_student)
    names = [category['name'] for category in truth[1].loadCats(truth[1].getCatIds())]
    model.set_vocabulary(build_vocabulary(load_config(find_model('kdeov_yolov8n').config), names))
    preprocessing = json.dumps(dict(size=[128, 128], resize='stretch'))
    metadata = dict(kdeov_format='1', embed_dims='128', preprocessing=preprocessing)
    return dict(
        detector=export.export_detector(model, folder / 'detector.onnx', metadata),
        image_encoder=export.export_image_encoder(model, folder / 'image_encoder.onnx', metadata),
    )


@pytest.fixture(scope='module')
def inputs(files, truth):
    """All test images as the networks' input, ``[800, 3, 128, 128]``."""
    runtime, (folder, coco) = Runtime(files['detector']), truth
    return np.stack([runtime.preprocess(read_image(folder / image['file_name'])) for image in coco.imgs.values()])


def average_precision(detector, inputs, coco):
    """AP of the images that are evaluated, in percent."""
    runtime, categories, results = Runtime(detector), sorted(coco.getCatIds()), []
    images = list(coco.imgs.values())[EVALUATED]
    for image, pixels in zip(images, inputs[EVALUATED]):
        boxes, scores, labels = runtime.session.run(['boxes', 'scores', 'labels'], dict(images=pixels[None]))
        scale = np.tile([image['width'] / 128, image['height'] / 128], 2)
        for (left, top, right, bottom), score, label in zip(boxes[0] * scale, scores[0], labels[0]):
            if label >= 0:
                results.append(
                    dict(
                        image_id=image['id'],
                        category_id=categories[label],
                        score=float(score),
                        bbox=[left, top, right - left, bottom - top],
                    )
                )
    evaluation = COCOeval(coco, coco.loadRes(results), 'bbox')
    evaluation.params.imgIds = [image['id'] for image in images]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return 100 * evaluation.stats[0]


@pytest.fixture(scope='module')
def float_ap(files, inputs, truth):
    return average_precision(files['detector'], inputs, truth[1])


@pytest.mark.parametrize('target', RUNTIMES)
def test_a_point_of_ap_at_most(files, inputs, truth, float_ap, target, tmp_path):
    quantize(files['detector'], inputs[CALIBRATION], tmp_path / 'int8.onnx', runtime=target)
    assert float_ap > 70  # it is the trained demo
    assert average_precision(tmp_path / 'int8.onnx', inputs, truth[1]) >= float_ap - 1


@pytest.mark.parametrize('target', RUNTIMES)
def test_a_hundredth_of_the_cosine_at_most(files, inputs, target, tmp_path):
    quantize(files['image_encoder'], inputs[CALIBRATION], tmp_path / 'int8.onnx', runtime=target)
    found, expected = (
        Runtime(path).session.run(None, dict(images=inputs[EVALUATED]))[0]
        for path in (tmp_path / 'int8.onnx', files['image_encoder'])
    )
    assert cosines(found, expected).min() >= 0.99
