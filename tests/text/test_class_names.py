"""Files of class names and of synonyms: what is read, and what is refused."""

import json

import pytest

from kdeov_mm.text import read_class_names, read_synonyms


@pytest.mark.parametrize(
    'file, content',
    [
        ('names.txt', '\ufeffcat\n\n traffic light \r\nÄpfel\n'),
        ('names.json', json.dumps(['cat', 'traffic light', 'Äpfel'])),
        ('names.json', json.dumps([dict(id=i, name=name) for i, name in enumerate(['cat', 'traffic light', 'Äpfel'])])),
        (
            'names.json',
            json.dumps(dict(images=[], categories=[dict(name='cat'), dict(name='traffic light'), dict(name='Äpfel')])),
        ),
    ],
)
def test_names_are_read_in_order(tmp_path, file, content):
    (tmp_path / file).write_text(content, encoding='utf-8')
    assert read_class_names(str(tmp_path / file)) == ['cat', 'traffic light', 'Äpfel']


@pytest.mark.parametrize(
    'file, content, value',
    [
        ('names.txt', b'', r'names\.txt'),
        ('names.txt', b'\x93NUMPY\xff', 'UTF-8'),
        ('names.txt', b'cat\ndog\ncat', "'cat'"),
        ('names.json', b'{', r'names\.json'),
        ('names.json', b'{"a": 1}', r'names\.json'),
        ('names.json', b'[1, 2]', r'\b1\b'),
        ('names.json', b'[{"id": 1}]', 'None'),
        ('names.json', b'[]', r'names\.json'),
    ],
)
def test_a_bad_file_of_names_is_explained(tmp_path, file, content, value):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=value):
        read_class_names(str(tmp_path / file))
    with pytest.raises(FileNotFoundError, match='missing.txt'):
        read_class_names(str(tmp_path / 'missing.txt'))


def test_synonyms_from_category_records(tmp_path):
    records = [dict(id=1, name='sofa', synonyms=['sofa', 'couch']), dict(id=2, name='cat')]
    expected = dict(sofa=['sofa', 'couch'], cat=[])
    for content in (records, dict(categories=records), expected):
        (tmp_path / 'lvis.json').write_text(json.dumps(content))
        assert read_synonyms(str(tmp_path / 'lvis.json')) == expected
    assert read_synonyms(records) == expected and read_synonyms(None) == {}
