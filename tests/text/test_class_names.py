"""Files of class names and of synonyms: what is read, and what is refused."""

import json
from pathlib import Path

import pytest

import kdeov_mm
from kdeov_mm.text import read_class_names, read_synonyms, read_thresholds


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


def test_lines_may_have_thresholds(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('red star = 0.4\ndog=1\na = b\n= 0.5\ncat\nE = mc2\nbird = .25\n', encoding='utf-8')
    assert read_class_names(str(path)) == ['red star', 'dog', 'a = b', '= 0.5', 'cat', 'E = mc2', 'bird']
    assert read_thresholds(str(path)) == {'red star': 0.4, 'dog': 1.0, 'bird': 0.25}


@pytest.mark.parametrize('line', ['dog = 40', 'dog = -0.1'])
def test_a_threshold_out_of_range_is_refused(tmp_path, line):
    (tmp_path / 'names.txt').write_text(f'cat\n{line}\n')
    for read in (read_class_names, read_thresholds):
        with pytest.raises(ValueError, match=line):
            read(str(tmp_path / 'names.txt'))


def test_no_name_that_the_package_knows_has_a_threshold():
    for path in Path(kdeov_mm.__file__).parent.rglob('text/lexicons/*.txt'):
        assert read_thresholds(str(path)) == {}
