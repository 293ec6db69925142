"""A fake text encoder."""

import zlib
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import kdeov_mm  # noqa: F401
from kdeov_mm.models.clip import TextBank


def text_embedding(text: str, dim: int = 32) -> torch.Tensor:
    """A random unit vector that depends on the text alone, float32 ``[D]``."""
    return F.normalize(torch.randn(dim, generator=torch.Generator().manual_seed(zlib.crc32(text.encode()))), dim=0)


@pytest.fixture
def fake_text(monkeypatch):
    """TextBank.build without a text encoder."""
    monkeypatch.setattr(
        TextBank,
        'build',
        lambda names, text_encoder, templates='single': SimpleNamespace(
            names=names, embeddings=torch.stack([text_embedding(name) for name in names])
        ),
    )
    return text_embedding
