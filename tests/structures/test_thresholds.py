"""Which minimum score counts for which class name."""

import numpy as np
import pytest

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.structures import Detections, resolve_thresholds

NAMES = ['red star', 'dog', 'cat']


@pytest.mark.parametrize(
    'given, own, expected',
    [
        (None, {}, [0.3, 0.3, 0.3]),
        (0.5, {}, [0.5, 0.5, 0.5]),
        (0, {}, [0, 0, 0]),
        (None, {'dog': 0.7}, [0.3, 0.7, 0.3]),
        (0.5, {'dog': 0.7}, [0.5, 0.7, 0.5]),
        ({'dog': 0.1, 'cat': 0.2}, {'dog': 0.7, 'red star': 0.6}, [0.6, 0.1, 0.2]),
    ],
)
def test_the_most_special_one_counts(given, own, expected):
    found = resolve_thresholds(NAMES, given, 0.3, own)
    assert found.tolist() == np.array(expected, np.float32).tolist()
    assert resolve_thresholds(NAMES, found, 0.9) is found


@pytest.mark.parametrize('given', [1.5, -0.1, float('nan'), '0.4', True, {'dog': 2}, {'wolf': 0.4}])
def test_bad_thresholds_are_refused(given):
    with pytest.raises(ValueError, match='score_threshold'):
        resolve_thresholds(NAMES, given, 0.3)


class Fake:
    folded, embed_dims, threshold, image_competitors = None, 2, 0.35, None

    def embed_names(self, names, templates=None, embeddings=None):
        return np.eye(len(names), 2)

    def as_array(self, class_embeddings):
        return class_embeddings

    def embed_text(self, text):
        return np.ones(2)

    def embed(self, images):
        return np.ones((len(images), 2))

    def detect(self, images, names, class_embeddings, score_threshold, others=None):
        """Three boxes of each name, with scores 0.32, 0.45 and 0.65."""
        scores = np.tile(np.array([0.32, 0.45, 0.65], np.float32), len(names))
        labels = np.repeat(np.arange(len(names)), 3)
        found = Detections(np.zeros((len(labels), 4), np.float32), scores, labels, names, 8, 8)
        return [found.above(score_threshold) for _ in images]


@pytest.mark.parametrize(
    'given, expected', [(None, [2, 1, 2]), (0.5, [1, 1, 1]), ({'dog': 0.0}, [2, 3, 2]), (0.0, [3, 1, 3])]
)
def test_the_models_the_files_and_the_users_thresholds(tmp_path, given, expected):
    (tmp_path / 'names.txt').write_text('red star\ndog = 0.6\ncat\n')
    inferencer, image = KDEOVInferencer(Fake()), np.zeros((8, 8, 3), np.uint8)
    inferencer.set_vocabulary(tmp_path / 'names.txt')
    for names in (tmp_path / 'names.txt', str(tmp_path / 'names.txt'), None):
        (found,) = inferencer.detect(image, names, given)
        assert np.bincount(found.labels, minlength=3).tolist() == expected
