"""What a terminal would obey or hide is shown as escapes."""

from kdeov_mm.utils.display import printable


def test_control_sequences_and_marks():
    assert printable('a\x1b[31mred\x07') == 'a\\x1b[31mred\\x07'
    assert printable('a\u202egpj.exe') == 'a\\u202egpj.exe'
    assert printable('two\nlines') == 'two\\nlines'
    assert printable(b'caf\xe9'.decode(errors='surrogateescape')) == 'caf\\udce9'


def test_words_of_all_languages_stay():
    for text in ('red star', 'Straße', '赤い星', 'می‌خواهم', '👩‍🚀', 'naïve café'):
        assert printable(text) == text
