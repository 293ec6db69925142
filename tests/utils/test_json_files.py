"""JSON that is not what it should be is refused by a message that names the file."""

import json

import pytest
from kdeov_mm.utils import InputError
from kdeov_mm.utils.json_files import Constant, find_constant, parse_json, read_json


@pytest.mark.parametrize(
    'content', [b'', b'{', b'[1]', b'null', b'{"a": NaN}', b'{"a": -Infinity}', b'[' * 200_000, b'\xff\xfe{}', b'{"a":']
)
def test_refused(tmp_path, content):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(InputError, match='a.json'):
        read_json(path)


def test_read(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('{"a": [1, 2.5, "x"]}')
    assert read_json(path) == {'a': [1, 2.5, 'x']}
    assert parse_json('[1]', 'text', list) == [1]
    with pytest.raises(InputError):
        read_json(path, max_bytes=5)


@pytest.mark.parametrize(
    'content, place',
    [
        ('{"a": 1e999, "b": NaN}', 'b'),
        ('{"a": [1e999, {"c": [0, -Infinity]}], "b": NaN}', 'a[1].c[1]'),
        ('NaN', 'the value'),
        ('{"a": NaN, "a": 1e999}', 'a value'),
    ],
)
def test_a_number_beyond_float_is_not_taken_for_nan(content, place):
    assert find_constant(json.loads(content, parse_constant=Constant)) == place
    with pytest.raises(InputError) as refused:
        parse_json(content, 'file')
    assert place in str(refused.value)
    assert type(parse_json(content, 'file', object, finite=False)) in (dict, float)
