"""Ready embeddings: found by name, and refused when they do not fit."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from safetensors.torch import save_file as torch_save

from kdeov_mm.models import PrecomputedTextEncoder, TextBank


def save(path, table):
    save_file(dict(texts=table), path) if path.suffix == '.safetensors' else np.save(path, table)
    return str(path)


@pytest.mark.parametrize('file', ['table.npy', 'table.safetensors'])
@pytest.mark.parametrize(
    'content',
    [
        list('abc'),
        [dict(id=i, name=n) for i, n in enumerate('abc')],
        dict(images=[], categories=[dict(id=i, name=n) for i, n in enumerate('abc')]),
    ],
)
def test_ready_embeddings_are_looked_up(content, file, tmp_path):
    table = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float16)
    (tmp_path / 'names.json').write_text(json.dumps(content))
    encoder = PrecomputedTextEncoder(save(tmp_path / file, table), str(tmp_path / 'names.json'))
    bank = TextBank.build(['c', 'a'], encoder, 'single', dict(a=['b']))  # what is ready stays as it is
    expected = F.normalize(torch.from_numpy(table[[2, 0]].astype(np.float32)), dim=-1)
    torch.testing.assert_close(bank.embeddings, expected)
    with pytest.raises(ValueError, match="'d'"):
        TextBank.build(['d'], encoder)


def test_names_from_a_text_file(tmp_path):
    (tmp_path / 'names.txt').write_text('a\nb\n')
    encoder = PrecomputedTextEncoder(save(tmp_path / 'table.npy', np.eye(2)), str(tmp_path / 'names.txt'))
    assert torch.equal(encoder.encode_text(['b']), torch.tensor([[0.0, 1.0]]))


def test_half_precision_is_read_as_float32(tmp_path):
    table = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    torch_save(dict(texts=table), tmp_path / 'table.safetensors')
    found = PrecomputedTextEncoder(str(tmp_path / 'table.safetensors'), ['a', 'b']).table
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, F.normalize(table.float(), dim=-1))


def with_row(value):
    table = np.ones((3, 4))
    table[1, 2:] = value
    return table


@pytest.mark.parametrize(
    'table, named',
    [
        (np.ones((2, 4)), r'\(2, 4\).*\b3\b'),
        (np.ones((4, 4)), r'\(4, 4\).*\b3\b'),
        (np.ones(3), r'\[N, D\]'),
        (with_row(np.nan), r'row 1\b.*NaN'),
        (with_row(np.inf), r'row 1\b.*NaN'),
        (np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), r'row 1\b.*zero'),
        (np.ones((3, 4), dtype=np.int64), 'int64'),
        (np.ones((3, 4), dtype=bool), 'bool'),
        (np.array([['a'] * 4] * 3), r'table\.npy'),
        (np.array([[None] * 4] * 3), r'table\.npy'),
    ],
)
def test_ready_embeddings_that_do_not_fit_are_refused(table, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        PrecomputedTextEncoder(save(tmp_path / 'table.npy', table), ['a', 'b', 'c'])


def test_bad_files_and_names_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='missing.npy'):
        PrecomputedTextEncoder('missing.npy', ['a'])
    path = save(tmp_path / 'table.npy', np.ones((2, 4)))
    with pytest.raises(FileNotFoundError, match='missing.txt'):
        PrecomputedTextEncoder(path, 'missing.txt')
    with pytest.raises(ValueError, match="'a'"):
        PrecomputedTextEncoder(path, ['a', 'a'])
    for file in ('text.npy', 'text.safetensors'):
        (tmp_path / file).write_text('no array')
        with pytest.raises(ValueError, match=file):
            PrecomputedTextEncoder(str(tmp_path / file), ['a', 'b'])
