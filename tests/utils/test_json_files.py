"""JSON that is not what it should be is refused by a message that names the file."""

import pytest
from kdeov_mm.utils import InputError
from kdeov_mm.utils.json_files import parse_json, read_json


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
