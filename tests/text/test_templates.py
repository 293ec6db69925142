"""Prompt templates: the known sets, files of one's own, and how they are filled."""

import numpy as np
import open_clip
import pytest

from kdeov_mm.text import TEMPLATE_SETS, average_prompts, fill, resolve_templates


def test_the_set_of_80_is_open_clips():
    assert resolve_templates('openai_imagenet_80') == [t('{}') for t in open_clip.OPENAI_IMAGENET_TEMPLATES]
    assert len(resolve_templates('openai_imagenet_80')) == 80


def test_vild_has_63_different_templates():
    assert len(set(resolve_templates('vild'))) == len(resolve_templates('vild')) == 63
    prompts = [fill(template, 'apple') for template in resolve_templates('vild')]
    assert {
        'There is an apple in the scene.',
        'itap of my apple.',
        'a photo of many apple.',
        'a toy apple.',
        'a black and white photo of an apple.',
        'a photo of the hard to see apple.',
    } <= set(prompts)
    assert 'There is a dog in the scene.' in [fill(template, 'dog') for template in resolve_templates('vild')]


@pytest.mark.parametrize('name', TEMPLATE_SETS)
def test_every_set_says_the_name_once(name):
    for template in resolve_templates(name):
        assert fill(template, 'zzz').count('zzz') == 1 and '{' not in fill(template, 'zzz')


@pytest.mark.parametrize(
    'name, prompt',
    [
        ('traffic_light', 'a traffic light'),
        ('Orange', 'an Orange'),
        ('{}', 'a {}'),
        (' ear ', 'an ear'),
    ],
)
def test_a_name_is_written_as_a_reader_would(name, prompt):
    assert fill('{article} {}', name) == prompt


def test_templates_from_a_file(tmp_path):
    path = tmp_path / 'mine.txt'
    path.write_text('a drawing of {article} {}\n\n  the {}  \n')
    assert resolve_templates(str(path)) == ['a drawing of {article} {}', 'the {}']


@pytest.mark.parametrize(
    'templates',
    [
        'no_such_set',
        [],
        ['a photo'],
        ['{} and {}'],
        ['a {kind} {}'],
        ['{'],
        ['{article} {article} {}'],
    ],
)
def test_bad_templates_are_named(templates):
    with pytest.raises(ValueError, match='templates'):
        resolve_templates(templates)


def test_a_missing_or_empty_file_of_templates_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'templates.*missing\.txt'):
        resolve_templates(str(tmp_path / 'missing.txt'))
    (tmp_path / 'empty.txt').write_text('\n')
    with pytest.raises(ValueError, match='empty.txt'):
        resolve_templates(str(tmp_path / 'empty.txt'))


def test_average_prompts_equals_a_loop():
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = average_prompts(rows, [['a'] * 3, ['b'], ['c'] * 2])
    for row, part in zip(found, (rows[:3], rows[3:4], rows[4:])):
        mean = part.astype(np.float64).mean(axis=0)
        assert np.abs(row - mean / np.linalg.norm(mean)).max() < 1e-7
    assert found.dtype == np.float32 and found.shape == (3, 4)


def test_prompts_that_cancel_out_have_no_direction():
    assert np.array_equal(average_prompts(np.array([[1.0, 0.0], [-1.0, 0.0]]), [['a', 'b']]), [[0.0, 0.0]])
