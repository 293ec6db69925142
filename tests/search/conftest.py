"""A tiny encoder, an empty index, and the tool."""

import pytest
from search_data import write_encoder

from kdeov_mm.cli import main


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
    """Runs ``kdeov index`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        if status := main(['index', *map(str, args)]):
            raise SystemExit(status)

    return run
