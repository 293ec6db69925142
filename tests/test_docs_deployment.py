"""The commands of the documents on deployment run as they stand, in a folder like a checkout after ``make demo``."""

from pathlib import Path

import pytest
from docs_commands import ROOT, make_checkout, read_commands, run_python

from kdeov_mm.datasets import ensure_world

pytestmark = pytest.mark.slow
TOOLS = ('make_shapes', 'export', 'export_weights', 'index', 'benchmark_index')  # the others are servers or take hours
OPTIONAL = {'--distributed': 'ray'}


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """With a world of few images, and names."""
    folder = make_checkout(tmp_path_factory.mktemp('checkout'))
    ensure_world(folder / 'data' / 'shapes', sizes=dict(train=40, val=8, test=40), splits=('train', 'val', 'test'))
    (folder / 'names.txt').write_text('red circle\nstriped blue star\n')
    return folder


@pytest.mark.parametrize('document', ['models', 'deploy', 'search'])
def test_commands(checkout, document):
    commands = [command.words for command in read_commands(ROOT / 'docs' / f'{document}.md')]
    commands = [words for words in commands if words[0] == 'python' and Path(words[1]).stem in TOOLS]
    assert commands
    for words in commands:
        for option, package in OPTIONAL.items():
            if option in words:
                pytest.importorskip(package)
        run_python(words, checkout)
        for option in ('--picture', '--json', '--out-dir'):
            if option in words:
                assert (checkout / words[words.index(option) + 1]).exists()
