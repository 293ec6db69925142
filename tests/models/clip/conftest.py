"""A text encoder that counts and shows what it is asked."""

import hashlib

import pytest
import torch
import torch.nn.functional as F


class SpyEncoder:
    """Embeds each text by random numbers seeded by the text."""

    id = 'spy'
    templates, synonyms, teacher = 'single', None, None

    def __init__(self):
        self.asked = []

    def encode_text(self, texts):
        self.asked.append(list(texts))
        return torch.stack([embedding(text) for text in texts])


def embedding(text):
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    return F.normalize(torch.randn(16, generator=torch.Generator().manual_seed(seed)), dim=0)


@pytest.fixture
def spy(tmp_path, monkeypatch):
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'cache'))
    return SpyEncoder()


@pytest.fixture
def embed():
    """The spy's embedding ``[16]`` of a text."""
    return embedding
