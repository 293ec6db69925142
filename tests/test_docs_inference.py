"""Every command and every line of Python of docs/inference.md runs."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from kdeov_mm.cli import main

TEXT = (Path(__file__).resolve().parents[1] / 'docs' / 'inference.md').read_text()
COMMANDS = [line for block in re.findall(r'```bash\n(.*?)```', TEXT, re.S) for line in block.splitlines()]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with what the document takes for given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', sys.argv)
    Path('photos').mkdir()
    Path('names.txt').write_text('red circle\nblue star\n')
    for name, colour in (('1.png', 'red'), ('2.png', 'blue')):
        image = Image.new('RGB', (128, 128), 'white')
        ImageDraw.Draw(image).ellipse((30, 30, 90, 90), fill=colour)
        image.save(f'photos/{name}')


@pytest.mark.parametrize('command', COMMANDS)
def test_commands(command, capsys):
    program, *args = shlex.split(command)
    assert program == 'kdeov' and main(args) == 0
    assert 'photos/1.png' in capsys.readouterr().out
    for option in ('--out-dir', '--coco', '--picture'):
        if option in args:
            assert Path(args[args.index(option) + 1]).exists()


def test_python(capsys):
    """All blocks, one after the other, as a reader would type them."""
    pytest.importorskip('pandas')
    pytest.importorskip('supervision')
    scope = {}
    for block in re.findall(r'```python\n(.*?)```', TEXT, re.S):
        exec(compile(block, 'docs/inference.md', 'exec'), scope)
    assert scope['embedded'].names == ['photos/1.png', 'photos/2.png'] and Path('found.png').is_file()
    assert 'red circle' in capsys.readouterr().out
