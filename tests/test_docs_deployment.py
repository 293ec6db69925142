"""The commands of the documents on deployment run as they stand, in a folder like a checkout after ``make demo``."""

import pytest
from docs_commands import ROOT, make_checkout, read_commands, run_command

from kdeov_mm.datasets import ensure_world

pytestmark = pytest.mark.slow
COMMANDS = ('export', 'index')  # of kdeov, and scripts: the others are servers or take hours
SCRIPTS = ('dataset_converters/make_shapes', 'model_converters/export_weights', 'benchmarks/index')
OPTIONAL = {'--distributed': 'ray'}


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
    """With a world of few images, and names."""
    folder = make_checkout(tmp_path_factory.mktemp('checkout'))
    ensure_world(folder / 'data' / 'shapes', sizes=dict(train=40, val=8, test=40), splits=('train', 'val', 'test'))
    (folder / 'names.txt').write_text('red circle\nstriped blue star\n')
    return folder


def is_run(words):
    """Return whether a command of a document is executed here."""
    if words[0] == 'kdeov':
        return words[1] in COMMANDS
    return words[0] == 'python' and words[1].removeprefix('tools/').removesuffix('.py') in SCRIPTS


@pytest.mark.parametrize('document', ['models', 'deploy', 'search'])
def test_commands(checkout, document):
    commands = [command.words for command in read_commands(ROOT / 'docs' / f'{document}.md')]
    commands = [words for words in commands if is_run(words)]
    assert commands
    for words in commands:
        for option, package in OPTIONAL.items():
            if option in words:
                pytest.importorskip(package)
        run_command(words, checkout)
        for option in ('--picture', '--json', '--out-dir'):
            if option in words:
                assert (checkout / words[words.index(option) + 1]).exists()
