"""Lexicons, and which of their entries compete with a name."""

import numpy as np
import pytest

from kdeov_mm.text import competes, read_lexicon
from kdeov_mm.text.lexicon import LEXICONS

LEXICON = ['solid red star', 'striped blue star', 'red circle', 'star fish', 'Red_Star']


@pytest.mark.parametrize(
    'name, rivals',
    [
        ('star', ['red circle', 'star fish']),
        ('red star', ['striped blue star', 'red circle', 'star fish']),
        ('solid red star', ['striped blue star', 'red circle', 'star fish', 'Red_Star']),
        ('red', LEXICON),
        ('fish', LEXICON[:3] + LEXICON[4:]),
        ('dog', LEXICON),
        ('🐶', LEXICON),
    ],
)
def test_what_is_a_kind_of_a_name_does_not_compete_with_it(name, rivals):
    (row,) = competes([name], LEXICON)
    assert [entry for entry, rival in zip(LEXICON, row) if rival] == rivals


def test_a_name_without_words_is_itself():
    assert competes(['🐶', '!'], ['🐶', '🐱', '!']).tolist() == [[False, True, True], [True, True, False]]


def test_each_row_is_that_of_its_name_alone():
    names = ['star', 'dog', 'red star']
    together = competes(names, LEXICON)
    assert np.array_equal(together, np.concatenate([competes([name], LEXICON) for name in names]))
    assert competes(names, []).shape == (3, 0)


def test_the_lexicon_of_the_shapes_dataset_has_all_of_its_concepts():
    from kdeov_mm.datasets.shapes import world_concepts

    assert read_lexicon('shapes') == [concept['name'] for concept in world_concepts()]


def test_lexicons_of_ones_own(tmp_path):
    (tmp_path / 'mine.txt').write_text('dog\ncat\n')
    assert read_lexicon(str(tmp_path / 'mine.txt')) == read_lexicon(['dog', 'cat']) == ['dog', 'cat']
    assert read_lexicon(None) == []
    with pytest.raises(FileNotFoundError, match='nothing.txt'):
        read_lexicon('nothing.txt')
    with pytest.raises(ValueError, match="'dog'"):
        read_lexicon(['dog', 'dog'])


def test_all_lexicons_can_be_read():
    assert all(len(read_lexicon(name)) > 100 for name in LEXICONS)
