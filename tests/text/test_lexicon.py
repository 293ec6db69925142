"""Lexicons, and which of their entries compete with a name."""

import warnings

import numpy as np
import pytest

from kdeov_mm.text import LEXICONS, Lexicon

LEXICON = ('solid red star', 'striped blue star', 'red circle', 'star fish', 'Red_Star')


@pytest.mark.parametrize(
    'name, rivals',
    [
        ('star', ['red circle', 'star fish']),
        ('red star', ['striped blue star', 'red circle', 'star fish']),
        ('solid red star', ['striped blue star', 'red circle', 'star fish', 'Red_Star']),
        ('red', [*LEXICON]),
        ('fish', [*LEXICON[:3], LEXICON[4]]),
        ('dog', [*LEXICON]),
        ('🐶', [*LEXICON]),
    ],
)
def test_what_is_a_kind_of_a_name_does_not_compete_with_it(name, rivals):
    (row,) = Lexicon(LEXICON, hierarchy=False).competes([name])
    assert [entry for entry, rival in zip(LEXICON, row) if rival] == rivals


def test_a_name_without_words_is_itself():
    assert Lexicon(('🐶', '🐱', '!')).competes(['🐶', '!']).tolist() == [[False, True, True], [True, True, False]]


def test_each_row_is_that_of_its_name_alone():
    names = ['star', 'dog', 'red star']
    for lexicon in (Lexicon(LEXICON), Lexicon(LEXICON, hierarchy=False)):
        alone = [lexicon.competes([name]) for name in names]
        assert np.array_equal(lexicon.competes(names), np.concatenate(alone))
    assert Lexicon().competes(names).shape == (3, 0)


def test_the_lexicon_of_the_shapes_dataset_has_all_of_its_concepts():
    from kdeov_mm.datasets.shapes import world_concepts

    assert list(Lexicon.read('shapes').entries) == [concept['name'] for concept in world_concepts()]


def test_lexicons_of_ones_own(tmp_path):
    (tmp_path / 'mine.txt').write_text('dog\ncat\n')
    assert Lexicon.read(str(tmp_path / 'mine.txt')) == Lexicon.read(['dog', 'cat']) == Lexicon(('dog', 'cat'))
    assert Lexicon.read(None) == Lexicon(())
    with pytest.raises(FileNotFoundError, match='nothing.txt'):
        Lexicon.read('nothing.txt')
    with pytest.raises(ValueError, match="'dog'"):
        Lexicon.read(['dog', 'dog'])


def test_all_lexicons_can_be_read():
    assert all(len(Lexicon.read(name)) > 100 for name in LEXICONS)


def test_wordnet_says_what_it_knows_and_the_phrase_rule_the_rest():
    lexicon = Lexicon(('puppy', 'hot dog', 'cat', 'big blarg'))
    assert lexicon.competes(['dog', 'blarg']).tolist() == [[False, True, True, True], [True, True, True, False]]
    by_words = Lexicon(lexicon.entries, hierarchy=False)
    assert by_words.competes(['dog']).tolist() == [[True, False, True, True]]  # it takes a hot dog for a dog


@pytest.mark.parametrize(
    ('text', 'known'),
    [
        ('star', True),
        ('red stars', True),
        ('two crosses and a striped ring', True),
        ('striped', True),
        ('Red_Circle', True),
        ('dog', False),
        ('red car', False),
        ('a photo of a dog', False),
        ('starling', False),
    ],
)
def test_what_a_complete_lexicon_knows(text, known):
    lexicon = Lexicon.read('shapes')
    assert lexicon.unknown([text]) == ([] if known else [text])
    assert Lexicon(lexicon.entries, False).unknown([text]) == []  # not complete
    if known:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            lexicon.warn_unknown([text])
    else:
        with pytest.warns(UserWarning, match='star'):
            lexicon.warn_unknown(['star', text])
