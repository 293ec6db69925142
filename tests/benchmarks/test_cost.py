"""Parameters and operations, counted by hand and against PyTorch's own counter."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kdeov_mm.benchmarks.cost import count_flops, count_parameters


class Part(nn.Module):
    """Uses one of two layers, the same one twice, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 100, 3)
        self.again = self.used
        self.bias = nn.Parameter(torch.zeros(5))

    def forward(self, images):
        return self.used(images) + self.again(images) + self.bias[0]


def test_one_layer_by_hand():
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert count_flops(conv, torch.zeros(1, 3, 10, 12)) == 8 * 3 * 3 * 3 * 10 * 12


def test_parameters_that_are_met():
    part = Part()
    assert count_parameters(part, lambda: part(torch.zeros(1, 3, 4, 4))) == 8 * 27 + 8 + 5
    attention = nn.MultiheadAttention(8, 2)
    tokens = torch.zeros(4, 1, 8)
    assert count_parameters(attention, lambda: attention(tokens, tokens, tokens)) == sum(
        parameter.numel() for parameter in attention.parameters()
    )
    assert not part._forward_hooks and not part.used._forward_hooks


def test_attention_that_pytorch_would_fuse():
    layer, tokens = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval(), torch.zeros(1, 10, 16)
    expected = 10 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 10 * 10 * 16  # projections, feed-forward, attention
    assert count_flops(layer, tokens) == pytest.approx(expected, rel=0.1)  # and normalisation


@pytest.mark.parametrize('name, size', [('resnet10t', 64), ('test_vit', 160)])
def test_close_to_pytorchs_counter(name, size):
    model, images = timm.create_model(name).eval(), torch.zeros(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    assert count_flops(model, images) == pytest.approx(counter.get_total_flops() / 2, rel=0.05)  # it counts both
    assert count_parameters(model, lambda: model(images)) == sum(p.numel() for p in model.parameters())
