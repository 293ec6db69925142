"""Faults of the disk and a second writer: nothing that was committed is lost, and the build goes on later."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from search_data import DIMS, write_images
from test_index_kill import build, processes

from kdeov_mm.search import ImageStore, check_index, update_index

pytestmark = pytest.mark.slow
FILES = 150


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / 'photos', FILES)


@pytest.fixture
def disk(tmp_path):
    """A function that makes a small disk of so many KiB, or changes its size or whether it can be written."""
    folder, mounted = tmp_path / 'disk', []
    folder.mkdir()

    def mount(options):
        options = f'remount,{options}' if mounted else options
        if subprocess.run(
            ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)], capture_output=True
        ).returncode:
            pytest.skip('needs the right to mount a small disk')
        mounted.append(options)
        return str(folder / 'index')

    yield mount
    if mounted:
        subprocess.run(['umount', str(folder)], check=True)


def test_a_disk_that_is_full_again_and_again_loses_nothing(disk, encoder, photos):
    stopped, before = 0, 0
    for size in range(200, 20_000, 200):
        folder = disk(f'size={size}k')
        try:
            store = ImageStore.create(folder, encoder.describe())
            update_index(photos, store, encoder, batch_size=5, commit_size=10)
            break
        except OSError as error:
            assert error.errno == 28 and folder in str(error)
            stopped += 1
        if Path(folder, 'images.lance', '_versions').exists():
            store = ImageStore.open(folder)
            assert check_index(store, files=True) == [] and len(store) >= before
            before = len(store)
    assert stopped >= 2 and len(store) == FILES and check_index(store, files=True) == []


def test_a_read_only_index_is_searched_but_not_changed(disk, encoder, photos):
    folder = disk('size=20m')
    store = ImageStore.create(folder, encoder.describe())
    update_index(photos[:50], store, encoder)
    disk('ro')
    store = ImageStore.open(folder)
    assert len(store.search(np.eye(DIMS)[0], 5)) == 5 and check_index(store, files=True) == []
    with pytest.raises(OSError) as error:
        update_index(photos, store, encoder)
    assert error.value.errno == 30 and folder in str(error.value)
    with pytest.raises(OSError):
        ImageStore.create(folder + '2', encoder.describe())
    disk('rw')
    assert update_index(photos, ImageStore.open(folder), encoder).added == FILES - 50


def test_of_several_writers_one_builds_and_the_others_are_refused(tmp_path, encoder_file, encoder, photos):
    folder, logs = str(tmp_path / 'index'), [tmp_path / f'log{i}.txt' for i in range(3)]
    writers = [processes.Process(target=build, args=(photos, folder, encoder_file, log)) for log in logs]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert 0 in [writer.exitcode for writer in writers]
    store = ImageStore.open(folder)
    assert len(store) == FILES and check_index(store, files=True) == []
