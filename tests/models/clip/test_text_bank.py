"""What class names and their synonyms become, and which are refused."""

import os
import warnings
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F

from kdeov_mm.models import OpenCLIPTextEncoder, TextBank
from kdeov_mm.models.clip.class_embeddings import cache_dir
from kdeov_mm.text import read_class_names, read_synonyms

REAL = Path(os.environ.get('KDEOV_REAL_DATA', Path(__file__).parents[3] / '../shared/data'))


@pytest.mark.parametrize(
    'names, named',
    [
        ([], 'names'),
        (['a', ''], r"\b2\b.*''"),
        (['a', ' \t'], r"\b2\b.*' \\t'"),
        (['a', 3], r'\b2\b.*\b3\b'),
        (['a', None], 'None'),
        (['a', 'b', 'a'], "'a'"),
        ('cat', "'cat'"),
        (['a', 'x' * 10000], r'\b2\b.*\b10000\b'),
    ],
)
def test_bad_names_are_named_shortly(names, named, spy):
    with pytest.raises(ValueError, match=named) as error:
        TextBank.build(names, spy)
    assert len(str(error.value)) < 300 and spy.asked == []


def test_a_name_longer_than_the_context_counts_with_its_beginning(tiny_teacher):
    encoder = OpenCLIPTextEncoder('kdeov-shapes', tiny_teacher)  # reads 48 tokens: start, 46 words and end
    whole, longer = ' '.join(['star'] * 46), ' '.join(['star'] * 47)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        first = TextBank.build([whole], encoder, 'none')
    with pytest.warns(UserWarning, match=r'\b1 of 1\b.*\b48\b'):
        second = TextBank.build([longer], encoder, 'none')
    assert torch.equal(first.embeddings, second.embeddings)


# ------------------------------------------------------------------------------------ synonyms
def test_a_class_is_the_mean_over_its_synonyms_and_the_templates(spy, embed):
    synonyms = dict(sofa=['couch', 'sofa', 'settee'], absent=['x'])
    bank = TextBank.build(['cat', 'sofa'], spy, ['a {}', 'the {}'], synonyms)
    assert bank.names == ['cat', 'sofa']
    for row, words in zip(bank.embeddings, (['cat'], ['sofa', 'couch', 'settee'])):
        total = sum(embed(f'{article} {word}') for word in words for article in ('a', 'the'))
        torch.testing.assert_close(row, F.normalize(total, dim=0))


def test_templates_and_synonyms_are_the_encoders_own_by_default(spy):
    spy.templates, spy.synonyms = ['the {}'], dict(sofa=['couch'])
    own = TextBank.build(['cat', 'sofa'], spy)
    assert torch.equal(
        own.embeddings, TextBank.build(['cat', 'sofa'], spy, ['the {}'], dict(sofa=['couch'])).embeddings
    )
    TextBank.build(['sofa'], spy, ['an old {}'])
    assert spy.asked[-1] == ['an old sofa'], 'other templates bring no synonyms'


def test_templates_come_from_a_file(tmp_path, spy, embed):
    path = tmp_path / 'mine.txt'
    path.write_text('a drawing of {article} {}\n\n  the {}  \n')
    bank = TextBank.build(['eel'], spy, str(path))
    expected = F.normalize(embed('a drawing of an eel') + embed('the eel'), dim=0)
    assert (bank.embeddings[0] - expected).abs().max() < 1e-6


def test_the_cache_knows_names_templates_and_synonyms_apart(spy):
    calls = [
        dict(names=['a', 'b']),
        dict(names=['b', 'a']),
        dict(names=['a', 'b'], templates=['{}']),
        dict(names=['a', 'b'], synonyms=dict(a=['c'])),
        dict(names=['a', 'b'], synonyms=dict(b=['c'])),
        dict(names=['a', 'b'], synonyms=dict(a=['c', 'd'])),
    ]
    banks = [TextBank.build(text_encoder=spy, **call) for call in calls]
    assert len(spy.asked) == len(calls)
    assert len({tuple(bank.embeddings.flatten().tolist()) for bank in banks}) == len(calls)
    for call, bank in zip(calls, banks):
        assert torch.equal(TextBank.build(text_encoder=spy, **call).embeddings, bank.embeddings)
    assert len(spy.asked) == len(calls)


def test_a_cache_that_cannot_be_written_is_a_warning(spy, embed, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path / 'file' / 'cache'))
    with pytest.warns(UserWarning, match='KDEOV_CACHE'):
        bank = TextBank.build(['cat'], spy, ['{}'])
    assert (bank.embeddings[0] - embed('cat')).abs().max() < 1e-6


def test_the_cache_needs_no_home_if_it_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv('KDEOV_CACHE', str(tmp_path))
    monkeypatch.setattr(Path, 'home', Mock(side_effect=RuntimeError('no home')))
    assert cache_dir() == tmp_path
    monkeypatch.setattr(Path, 'home', lambda: tmp_path / 'home')
    monkeypatch.setenv('KDEOV_CACHE', '')  # as if it were not set
    assert cache_dir() == tmp_path / 'home' / '.cache' / 'kdeov_mm'


@pytest.mark.skipif(not (REAL / 'clip_text').is_dir(), reason=f'no real LVIS categories in {REAL}')
def test_synonyms_of_lvis(spy):
    path = str(REAL / 'clip_text' / 'lvis_v1_categories.json')
    names, synonyms = read_class_names(path), read_synonyms(path)
    assert len(names) == len(synonyms) == 1203
    TextBank.build(names, spy, 'none', path)
    words = {word.replace('_', ' ') for words in synonyms.values() for word in words}
    assert words | {name.replace('_', ' ') for name in names} == set(spy.asked[0]) and len(words) > 1203


@pytest.mark.parametrize('synonyms', [['couch'], dict(sofa='couch'), dict(sofa=['']), dict(sofa=[3]), 3])
def test_bad_synonyms_are_named(synonyms, spy):
    with pytest.raises(ValueError, match='synonyms'):
        TextBank.build(['sofa'], spy, synonyms=synonyms)
