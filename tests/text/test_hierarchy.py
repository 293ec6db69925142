"""The word hierarchy: what is a kind of what, and the lexicon of nouns."""

import subprocess
import sys
import time

import numpy as np
import pytest

from kdeov_mm.text.hierarchy import DATA, NOUNS, Hierarchy, hyponyms, is_kind_of, normalize, singular_forms
from kdeov_mm.text.lines import read_lines


@pytest.mark.parametrize(
    'entry, name',
    [
        ('chap', 'person'),
        ('groom', 'person'),
        ('ballplayer', 'person'),
        ('puppy', 'dog'),
        ('golden retriever', 'dog'),
        ('kitten', 'cat'),
        ('sofa', 'couch'),
        ('couch', 'sofa'),
        ('taxi', 'vehicle'),
        ('bus', 'vehicle'),
        ('banana', 'fruit'),
        ('dog', 'dog'),
        ('Golden_Retriever', 'dogs'),
        ('people', 'person'),
        ('mice', 'rodent'),
        ('bow_(weapon)', 'weapon'),
    ],
)
def test_a_kind_or_synonym(entry, name):
    assert is_kind_of(entry, name) is True


@pytest.mark.parametrize(
    'entry, name',
    [
        ('mug', 'cup'),
        ('cup', 'mug'),
        ('hot dog', 'dog'),
        ('hot_dog', 'dog'),
        ('teddy bear', 'bear'),
        ('cat', 'dog'),
        ('dog', 'puppy'),
        ('person', 'chap'),
        ('guinea pig', 'pig'),
        ('monkey', 'person'),
        ('dog collar', 'dog'),
    ],
)
def test_a_different_thing(entry, name):
    assert is_kind_of(entry, name) is False


@pytest.mark.parametrize(
    'entry, name, expected',
    [
        ('red car', 'car', True),
        ('a red car', 'vehicle', True),
        ('red taxi', 'red car', True),
        ('shiny red sports car', 'red car', True),
        ('blue car', 'red car', False),
        ('car', 'red car', False),
        ('red car', 'dog', False),
        ('man with a hat', 'person', True),
        ('man with a hat', 'hat', False),
        ('glass of wine', 'glass', True),
        ('striped red star', 'star', True),
        ('striped red star', 'red star', True),
        ('blue star', 'red star', False),
        ('black heart', 'heart', True),
        ('solid black heart', 'black heart', True),
        ('solid black heart', 'heart', True),
        ('red heart', 'black heart', False),
        ('blue jay', 'bird', True),
        ('goldfish', 'fish', True),
        ('toy car', 'car', False),
        ('toy car', 'vehicle', False),
        ('toy car', 'toy', True),
        ('red toy car', 'toy car', True),
        ('red toy car', 'red toy', True),
        ('blue toy car', 'red toy', False),
        ('car', 'toy car', False),
        ('red blarg', 'blarg', True),
        ('blarg', 'red blarg', False),
        ('blarg', 'car', None),
        ('car', 'blarg', None),
        ('red blarg', 'car', None),
    ],
)
def test_phrases(entry, name, expected):
    assert is_kind_of(entry, name) is expected


def test_a_qualifier_selects_the_sense():
    assert is_kind_of('crane (bird)', 'bird') and not is_kind_of('crane (bird)', 'machine')
    assert is_kind_of('crane (device)', 'device') and not is_kind_of('crane (device)', 'bird')


def test_normalize():
    assert normalize('Bow_(decorative_ribbons)') == 'bow'
    assert normalize(' Hot-air   balloon ') == 'hot air balloon'
    assert 'fire truck' in singular_forms('fire trucks')
    assert singular_forms('glass') == ['glass']
    assert 'knife' in singular_forms('knives') and 'box' in singular_forms('boxes')


def test_the_table_equals_single_questions():
    names = ['dog', 'red car', 'toy', 'star', 'blarg', 'cups', 'heart', 'red toy', 'black heart']
    entries = [
        'puppy',
        'hot dog',
        'toy car',
        'red taxi',
        'red toy car',
        'blarg',
        'red blarg',
        'mug',
        'chap',
        'red star',
    ]
    table = hyponyms(names, entries)
    assert table.dtype == np.int8
    for row, name in enumerate(names):
        for column, entry in enumerate(entries):
            answer = is_kind_of(entry, name)
            assert table[row, column] == (-1 if answer is None else answer), (entry, name)


def test_a_hierarchy_of_ones_own(tmp_path):
    path = tmp_path / 'own.txt'
    path.write_text(
        '# a comment\n\tthing\n0\tanimal\n0\tdevice\n1\tmouse\n2\tmouse:2,computer mouse\n', encoding='utf-8'
    )
    hierarchy = Hierarchy.read(path)
    assert hierarchy.senses('mouse') == (3, 4)
    assert hierarchy.is_kind_of('mouse', 'animal') and hierarchy.is_kind_of('mouse', 'device')
    assert hierarchy.is_kind_of('computer mouse', 'animal') is False
    assert not Hierarchy.read(path, entry_senses=1).is_kind_of('mouse', 'device')


def test_no_sense_is_its_own_ancestor_and_the_licence_is_shipped():
    hierarchy = Hierarchy.load()
    assert all(parent < sense for sense, parents in enumerate(hierarchy.parents) for parent in parents)
    assert DATA.stat().st_size <= 1_000_000
    assert 'Princeton University' in (DATA.parent / 'WORDNET_LICENSE.txt').read_text(encoding='utf-8')


def test_nouns_are_known_things_of_different_meanings():
    nouns = read_lines(str(NOUNS), 'nouns')
    assert 1000 <= len(nouns) <= 2000
    hierarchy = Hierarchy.load()
    meanings = [hierarchy.senses(noun)[0] for noun in nouns]
    assert len(set(meanings)) == len(nouns)
    assert all(noun == normalize(noun) for noun in nouns)
    assert {'person', 'car', 'dog', 'cup', 'sky', 'tree', 'wall', 'chair'} <= set(nouns[:500])


def test_nouns_against_a_large_vocabulary_take_well_below_a_second():
    nouns = read_lines(str(NOUNS), 'nouns')
    names = sorted(Hierarchy.load().words)[::40][:1203]
    start = time.process_time()
    table = hyponyms(names, nouns)
    assert time.process_time() - start < 1
    assert table.shape == (1203, len(nouns)) and (table >= 0).all()


def test_the_import_reads_no_data_and_needs_no_torch():
    script = (
        'import sys, kdeov_mm.text, kdeov_mm.text.hierarchy as h; '
        "print('torch' in sys.modules, h.Hierarchy.load.cache_info().currsize, h.is_kind_of('puppy', 'dog'), "
        "h.Hierarchy.load.cache_info().currsize, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ('False 0 True 1 False\n', 0), done.stderr
