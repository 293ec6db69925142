"""Exported files whose weights are no numbers are refused when they compute, by name."""

import numpy as np
import pytest

from kdeov_mm.apis import KDEOVInferencer

onnx = pytest.importorskip('onnx')
pytestmark = pytest.mark.usefixtures('mmyolo_scope')
IMAGE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def damage(exported, tmp_path):
    """Copies the student's files; all weights of one become a value."""

    def make(kind, value, name=''):
        for path in exported.glob('*.onnx'):
            model = onnx.load(path)
            for tensor in model.graph.initializer if path.stem == kind else ():
                array = onnx.numpy_helper.to_array(tensor)
                if array.dtype.kind == 'f' and array.size > 8 and name in tensor.name:
                    tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(array, value), tensor.name))
            onnx.save(model, tmp_path / path.name)
        return KDEOVInferencer(tmp_path)

    return make


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize(
    'kind, task',
    [
        ('image_encoder', lambda model: model.classify(IMAGE, ['dog', 'cat'])),
        ('image_encoder', lambda model: model.embed(IMAGE)),
        ('text_encoder', lambda model: model.classify(IMAGE, ['dog', 'cat'])),
        ('text_encoder', lambda model: model.search('a dog', [IMAGE])),
        ('open_detector', lambda model: model.detect(IMAGE, ['dog', 'cat'], score_threshold=0.0)),
    ],
)
def test_an_export_that_computes_nan_is_named(damage, kind, task, value):
    with pytest.raises(ValueError) as caught:
        task(damage(kind, value))
    assert f'{kind}.onnx' in str(caught.value)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_detector_whose_scores_alone_are_nan_is_named(damage, value):
    """Its boxes are finite, and no score is above a threshold: it must not say that it has found nothing."""
    with pytest.raises(ValueError, match='open_detector.onnx'):
        damage('open_detector', value, 'to_logits').detect(IMAGE, ['dog', 'cat'], score_threshold=0.0)
