"""The ways to run one network, and what it needs."""

import numpy as np
import pytest
import torch
from torch import nn

from kdeov_mm.benchmarks.inference_engines import ENGINES, peak_memory, random_images
from kdeov_mm.deploy.export import write
from kdeov_mm.deploy.quantize import quantize


class Wide(nn.Module):
    """A convolution whose weights alone are 8 MiB."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 512, 3, padding=1), nn.Conv2d(512, 2**12, 1)

    def forward(self, images):
        return self.second(self.first(images).mean((2, 3), keepdim=True)).flatten(1)


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp('network')
    torch.manual_seed(0)
    module = Wide().eval().requires_grad_(False)
    files = {kind: folder / f'{kind}.onnx' for kind in ('fp32', 'ort_int8', 'openvino_int8')}
    write(module, dict(images=random_images(2, 32)), ({0: 'batch'},), ('found',), files['fp32'], {})
    for kind, runtime in (('ort_int8', 'onnxruntime'), ('openvino_int8', 'openvino')):
        quantize(files['fp32'], random_images(2, 32).numpy(), files[kind], runtime=runtime)
    return module, files


@pytest.mark.parametrize(
    'engine',
    ['eager', pytest.param('compiled', marks=pytest.mark.slow), 'ort_fp32', 'ort_int8', 'openvino', 'openvino_int8'],
)
def test_engines_give_what_the_module_gives(network, engine):
    module, files = network
    if engine.startswith('openvino'):
        pytest.importorskip('openvino')
    run, images = ENGINES[engine](module, files, 1), random_images(3, 32)
    found = run(images)
    found = found if isinstance(found, torch.Tensor) else torch.from_numpy(np.asarray(found[0]))
    expected = module(images)
    assert (found - expected).abs().max() <= (0.05 if engine.endswith('int8') else 1e-4) * expected.abs().max()


def test_peak_memory_is_the_networks_not_this_processs(network):
    assert 8 <= peak_memory(network[1]['fp32'], 32, 1) <= 200  # this process has PyTorch in memory
