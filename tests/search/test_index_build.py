"""Filling of an index, against embeddings and answers that are computed one by one."""

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdeov_mm.deploy import read_image
from kdeov_mm.search import ImageStore, check_index, update_index
from kdeov_mm.search.build import in_order
from kdeov_mm.search.store import select
from search_data import write_images


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / 'photos', 30)


def rows_of(store):
    """All rows of an index by path."""
    return {row['path']: row for row in select(store.images, 'true')}


def embed(encoder, path):
    """The embedding of one file, decoded in full, without batches."""
    return encoder.encode([encoder.prepare(read_image(path))])[0]


def test_rows_are_what_the_files_are(store, encoder, photos):
    report = update_index(photos, store, encoder, batch_size=7, commit_size=11, workers=3)
    assert (report.files, report.added, report.duplicates, report.broken) == (30, 30, 0, {})
    rows = rows_of(store)
    assert sorted(rows) == sorted(photos)
    for path, row in rows.items():
        content = Path(path).read_bytes()
        assert row['sha256'] == hashlib.sha256(content).hexdigest() and row['size'] == len(content)
        assert (row['width'], row['height']) == (48, 40)
        assert np.allclose(row['embedding'], embed(encoder, path), atol=1e-6)
        assert max(read_image(row['thumbnail']).shape[:2]) == 48
    assert check_index(store, files=True) == []


def test_a_search_finds_what_brute_force_finds(store, encoder, photos):
    update_index(photos, store, encoder)
    embeddings = np.stack([embed(encoder, path) for path in photos])
    for path in photos[:5]:
        query = embed(encoder, path)
        found = store.search(query, 10)
        scores = embeddings @ query
        assert [row['path'] for row in found] == [photos[i] for i in np.argsort(-scores)[:10]]
        assert np.allclose([row['score'] for row in found], np.sort(scores)[::-1][:10], atol=1e-5)


def test_a_second_build_reads_nothing_and_a_later_one_only_what_is_new(store, encoder, photos, monkeypatch):
    update_index(photos[:20], store, encoder)
    prepared = []
    monkeypatch.setattr(encoder, 'prepare', lambda image, prepare=encoder.prepare: prepared.append(0) or prepare(image))
    report = update_index(photos[:20], store, encoder)
    assert (report.unchanged, report.added, prepared) == (20, 0, [])
    report = update_index(photos, store, encoder)
    assert (report.unchanged, report.added, len(prepared), len(store)) == (20, 10, 10, 30)


def test_one_image_under_several_paths_is_there_once(store, encoder, photos, tmp_path):
    copies = [str(shutil.copy(photos[i], tmp_path / name)) for i, name in ((0, 'a.jpg'), (1, 'b.jpg'), (0, 'c.jpg'))]
    report = update_index([*photos[:5], *photos[:2], *copies], store, encoder)
    assert (report.files, report.added, report.duplicates, len(store)) == (8, 5, 3, 5)
    assert update_index([*photos[:5], *copies], store, encoder, commit_size=2).unchanged == 8
    later = str(shutil.copy(photos[2], tmp_path / 'later.jpg'))
    assert update_index([later], store, encoder).duplicates == 1
    assert len(store) == 5 and check_index(store) == []
    assert store.forget([photos[2]]) == 0 and later in rows_of(store)  # the content is still there, elsewhere
    assert store.forget([later]) == 1 and len(store) == 4 and check_index(store) == []


def test_a_changed_file_takes_its_own_place(store, encoder, photos, tmp_path):
    update_index(photos, store, encoder)
    shutil.copy(write_images(tmp_path / 'other', 1, seed=9)[0], photos[3])
    os.utime(photos[3], ns=(1, 1))
    report = update_index(photos, store, encoder)
    assert (report.added, report.unchanged, len(store)) == (1, 29, 30)
    assert np.allclose(rows_of(store)[photos[3]]['embedding'], embed(encoder, photos[3]), atol=1e-6)
    assert check_index(store, files=True) == []
    Path(photos[4]).write_bytes(b'')
    assert update_index(photos, store, encoder).broken.keys() == {photos[4]}
    assert photos[4] not in rows_of(store) and len(store) == 29
    shutil.copy(photos[5], photos[4])
    assert update_index(photos, store, encoder).duplicates == 1 and store.broken() == []
    assert check_index(store) == []


def test_files_and_folders_are_forgotten(store, encoder, photos, tmp_path):
    beside = write_images(tmp_path / "photos2 it's", 3, seed=5)
    update_index(photos + beside, store, encoder)
    assert store.forget([photos[0], photos[1]]) == 2
    assert store.forget([str(tmp_path / 'photos')], below=True) == 28
    assert sorted(rows_of(store)) == sorted(beside)
    assert store.forget([beside[1], 'absent.jpg']) == 1


def test_an_earlier_state_can_be_searched(store, encoder, photos):
    update_index(photos[:10], store, encoder)
    version = store.versions()[-1]['version']
    store.forget(photos[:10])
    update_index(photos[10:], store, encoder)
    before = ImageStore.open(store.folder, version)
    assert before.search(embed(encoder, photos[3]), 1)[0]['path'] == photos[3]
    assert store.search(embed(encoder, photos[3]), 1)[0]['path'] != photos[3]
    with pytest.raises(ValueError, match=r'\b999\b'):
        ImageStore.open(store.folder, 999)


def test_two_writers_do_not_meet(store, encoder, photos):
    with store.writing():
        with pytest.raises(ValueError, match=re.escape(store.folder)):
            update_index(photos, ImageStore.open(store.folder), encoder)
    assert update_index(photos, store, encoder).added == 30


@pytest.mark.parametrize('option', [dict(batch_size=0), dict(commit_size=-1), dict(thumbnail=-5), dict(workers=0)])
def test_bad_sizes_are_refused(store, encoder, photos, option):
    with pytest.raises(ValueError, match=f'{next(iter(option))}.*{next(iter(option.values()))}'):
        update_index(photos, store, encoder, **option)


def test_results_come_in_order_and_not_too_far_ahead():
    from concurrent.futures import ThreadPoolExecutor

    taken = []
    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, lambda i: i * i, (taken.append(i) or i for i in range(100)), ahead=5)
        assert next(results) == 0 and len(taken) <= 7
        assert list(results) == [i * i for i in range(1, 100)]
