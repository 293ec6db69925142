"""TextEncoderHook: its old name."""

import pytest
from mmyolo.registry import HOOKS

from kdeov_mm.engine import hooks


@pytest.mark.parametrize('name', ['TextEncoderHook', 'TextTowerHook'])
def test_names(name):
    assert type(HOOKS.build(dict(type=name))) is getattr(hooks, name) is hooks.TextEncoderHook
