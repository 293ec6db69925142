"""The hostile images of the corpus, written for each test."""

import pytest
from make_hostile_files import IMAGES


@pytest.fixture
def hostile(tmp_path):
    """The folder ``hostile``, with files that no reader of images may accept and a link back to it; their paths."""
    folder = tmp_path / 'hostile'
    folder.mkdir()
    entries = {name: entry for name, entry in IMAGES.items() if name not in ('absent.jpg', 'folder.jpg')}
    paths = {}
    try:
        for name, entry in entries.items():
            if not entry.accepted:
                entry.write(folder / name)
                paths[name.removesuffix('.jpg')] = str(folder / name)
        (folder / 'loop').symlink_to('.')
    except (OSError, AttributeError) as error:
        pytest.skip(f'this system has no such files: {error}')
    return folder, paths
