"""Arrays from files: special files and damaged ones are refused, and a bad row is named with its reason."""

import os
from pathlib import Path

import numpy as np
import pytest
from kdeov_mm.utils import InputError
from kdeov_mm.utils.arrays import find_bad_row, read_npy, row_defect

pytestmark = pytest.mark.usefixtures('bounded_memory')


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo('fifo.npy')
    Path('device.npy').symlink_to('/dev/zero')
    Path('folder.npy').mkdir()
    Path('text.npy').write_text('no array')
    np.save('objects.npy', np.array([object], dtype=object), allow_pickle=True)
    np.savez('archive', np.zeros(3))
    with open('long.npy', 'wb') as file:
        np.lib.format.write_array_header_1_0(file, dict(descr='<f8', fortran_order=False, shape=(2 * 10**9, 3)))
        file.write(bytes(100))


@pytest.mark.parametrize('name', ['fifo', 'device', 'folder', 'text', 'objects', 'long'])
def test_refused(name):
    with pytest.raises(InputError, match=f'{name}.npy'):
        read_npy(f'{name}.npy')


def test_absent_and_archive():
    with pytest.raises(FileNotFoundError, match='absent.npy'):
        read_npy('absent.npy')
    with pytest.raises(InputError, match='archive.npz'):
        read_npy('archive.npz')


def test_an_array_is_read_and_needs_no_file_afterwards():
    np.save('a.npy', np.eye(3))
    array = read_npy('a.npy')
    Path('a.npy').unlink()
    assert type(array) is np.ndarray and np.array_equal(array, np.eye(3)) and array.flags.writeable


@pytest.mark.parametrize('row', [[np.nan, 0], [np.inf, 1], [0, 0], [3e38, 0], [1e-20, 0]])
def test_bad_rows_have_reasons_of_their_own(row):
    rows = np.array([[1, 0], row, [0, 1]], dtype=np.float32)
    assert find_bad_row(rows) == 1
    norm = np.linalg.norm(rows[1].astype(float))
    reason = 'is zero' if norm == 0 else f'{norm:.3g}' if np.isfinite(norm) else 'NaN or infinity'
    assert reason in row_defect(rows[1])
    assert find_bad_row(rows[[0, 2]]) == -1
