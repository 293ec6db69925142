"""CLIP's tokenizer without its packages, against OpenCLIP's."""

import gzip
import json

import numpy as np
import pytest
from open_clip.tokenizer import SimpleTokenizer, default_bpe

from kdeov_mm.text import Tokenizer

TEXTS = [
    "it's a dog's life, isn't it?? 123 ½ ²x Ⅷ",
    '“curly” ‘quotes’',
    'naïve café über straße',
    '日本語のテキスト 犬',
    'a&amp;b &lt;',
    '__init__ a_b',
    'emoji 😀👍🏽 ok',
    '',
    '  spaces\t\n x',
    '<start_of_text> hi <end_of_text>',
    'x' * 300,
    'Привет мир',
    "'S 'LL don'T",
    'हिन्दी',
    "!!! 's ?'re",
    ' '.join(['word'] * 100),
    'e\u0301',
]


@pytest.fixture(scope='module')
def merges():
    return gzip.open(default_bpe()).read().decode().split('\n')[1 : 49152 - 256 - 2 + 1]


@pytest.mark.parametrize('context_length', [77, 48, 4])
def test_it_is_open_clips(merges, context_length):
    expected = SimpleTokenizer(context_length=context_length)(TEXTS)
    found = Tokenizer(merges, context_length)(TEXTS)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


def test_captions_of_real_images(merges, coco_mini):
    content = json.loads((coco_mini / 'annotations' / 'captions_val2017.json').read_text())
    captions = [item['caption'] for item in content['annotations']]
    np.testing.assert_array_equal(Tokenizer(merges, 77)(captions), SimpleTokenizer()(captions))
