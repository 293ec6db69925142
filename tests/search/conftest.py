"""A tiny encoder, an empty index, and the tool."""

import sys

import pytest
from search_data import write_encoder
from tool_loading import load_tool


@pytest.fixture(scope='session')
def encoder_file(tmp_path_factory):
    """The encoder's file."""
    return write_encoder(tmp_path_factory.mktemp('encoder') / 'encoder.onnx')


@pytest.fixture
def encoder(encoder_file):
    from kdeov_mm.search import ImageEncoder

    return ImageEncoder(encoder_file, threads=1)


@pytest.fixture
def store(tmp_path, encoder):
    """An empty index."""
    from kdeov_mm.search import ImageStore

    return ImageStore.create(str(tmp_path / 'index'), encoder.describe())


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """Runs tools/index.py in an empty folder."""
    module = load_tool('index')
    monkeypatch.chdir(tmp_path)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['index.py', *map(str, args)])
        module.main()

    return run
