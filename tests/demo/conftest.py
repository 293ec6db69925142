"""A demo whose network is arithmetic."""

import numpy as np
import pytest
from demo_data import Colours
from PIL import Image

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.demo import Demo


@pytest.fixture
def colours():
    return Colours()


@pytest.fixture
def demo(colours):
    return Demo(KDEOVInferencer(colours), teacher=colours)


@pytest.fixture
def half_red(tmp_path):
    """An image whose left half is red, and whose right half is blue."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30, 0], pixels[:, 30:, 2] = 255, 250
    Image.fromarray(pixels).save(tmp_path / 'half.png')
    return str(tmp_path / 'half.png')
