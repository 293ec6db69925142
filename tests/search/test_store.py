"""The store: what it refuses, and its vector index against exact search."""

import dataclasses
import hashlib
import re

import numpy as np
import pytest

from kdeov_mm.search import ImageStore, check_index
from kdeov_mm.search import store as store_module
from search_data import DIMS


def fill(store, number, seed=0):
    """Rows of clustered unit vectors; the vectors."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((max(number // 50, 1), DIMS)).repeat(50, 0)[:number]
    vectors = vectors + 0.5 * rng.standard_normal(vectors.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    same = dict(size=1, mtime_ns=1, width=1, height=1, thumbnail=b'')
    store.commit(
        [
            dict(same, path=f'{seed}/{i}', sha256=hashlib.sha256(f'{seed}/{i}'.encode()).hexdigest(), embedding=vector)
            for i, vector in enumerate(vectors)
        ],
        [],
    )
    return vectors


def recall(store, vectors, queries):
    """Share of the ten nearest that the store finds."""
    hits = 0
    for query in queries:
        nearest = set(np.argsort(-vectors @ query)[:10])
        hits += len(nearest & {int(row['path'].split('/')[1]) for row in store.search(query, 10)})
    return hits / 10 / len(queries)


def test_another_model_is_refused(store, encoder):
    other = dataclasses.replace(encoder.describe(), path='other.onnx', sha256='f' * 64, dims=DIMS)
    with pytest.raises(ValueError, match=r'encoder\.onnx.*other\.onnx'):
        ImageStore.create(store.folder, other)
    with pytest.raises(ValueError, match=r'other\.onnx'):
        ImageStore.create(store.folder, dataclasses.replace(other, dims=DIMS * 2))
    assert ImageStore.create(store.folder, encoder.describe()).model == encoder.describe()


def test_what_is_no_index_is_refused(tmp_path, store, monkeypatch):
    with pytest.raises(FileNotFoundError, match='absent'):
        ImageStore.open(str(tmp_path / 'absent'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='kdeov index build'):
        ImageStore.open(str(tmp_path / 'empty'))
    monkeypatch.setattr(store_module, 'FORMAT', 2)
    with pytest.raises(ValueError, match='format 1'):
        ImageStore.open(store.folder)
    for manifest in (tmp_path / 'index' / 'images.lance' / '_versions').glob('*.manifest'):
        manifest.write_bytes(manifest.read_bytes()[:10])
    with pytest.raises(ValueError, match=re.escape(store.folder)):
        ImageStore.open(store.folder)


def test_a_killed_creation_is_taken_up(tmp_path, encoder):
    (tmp_path / 'index' / 'images.lance' / 'data').mkdir(parents=True)  # what stands there before the first commit
    assert len(ImageStore.create(str(tmp_path / 'index'), encoder.describe())) == 0


@pytest.mark.parametrize('query', [np.ones(DIMS + 1), np.zeros(DIMS), np.full(DIMS, np.nan), np.ones((1, DIMS))])
def test_bad_queries_are_refused(store, query):
    fill(store, 10)
    with pytest.raises(ValueError, match='query'):
        store.search(query)


def test_an_empty_index_says_so(store):
    with pytest.raises(ValueError, match=re.escape(store.folder)):
        store.search(np.ones(DIMS))
    fill(store, 3)
    assert len(store.search(np.ones(DIMS), 10)) == 3
    with pytest.raises(ValueError, match='top'):
        store.search(np.ones(DIMS), 0)


def test_the_vector_index_is_made_kept_up_and_made_anew(store, monkeypatch):
    monkeypatch.setattr(store_module, 'INDEX_FROM', 1000)
    monkeypatch.setattr(store_module, 'PARTITION', 256)
    vectors = fill(store, 900)
    store.optimize()
    assert store.vector_index() is None and recall(store, vectors, vectors[:20]) == 1
    vectors = fill(store, 4000, seed=1)
    store.forget([f'0/{i}' for i in range(900)])
    store.optimize()
    made = store.vector_index()
    assert made == 'IvfRq of 4000 images, 0 not in it'
    queries = np.random.default_rng(2).permutation(vectors)[:50]
    assert recall(store, vectors, queries) >= 0.95
    trained, train = [], ImageStore.train_index
    monkeypatch.setattr(ImageStore, 'train_index', lambda self: trained.append(0) or train(self))
    fill(store, 100, seed=2)
    assert store.search(vectors[7], 1)[0]['path'] == '1/7'
    store.optimize()
    assert trained == [] and store.vector_index() == 'IvfRq of 4100 images, 0 not in it'
    fill(store, 13_000, seed=3)
    store.optimize()
    assert trained == [0] and store.vector_index() == 'IvfRq of 17100 images, 0 not in it'
    assert check_index(store) == []


def test_partitions_stay_as_small_as_they_are_made(store, monkeypatch):
    """LanceDB's upkeep joins partitions that it takes for too small; then all of them are looked into for any query."""
    monkeypatch.setattr(store_module, 'INDEX_FROM', 1000)
    monkeypatch.setattr(store_module, 'PARTITION', 100)
    query = fill(store, 3000)[0]

    def partitions():
        search = store.images.search(query, vector_column_name='embedding').distance_type('cosine').nprobes(1000)
        return int(re.search(r'partitions_ranked=(\d+)', search.select(['path']).limit(1).analyze_plan())[1])

    store.optimize()
    assert 20 <= partitions() <= 60
    store.optimize()
    assert 20 <= partitions() <= 60


def test_a_check_names_what_is_wrong(store, tmp_path):
    fill(store, 5)
    rows = store_module.select(store.images, "path = '0/3'")
    store.images.add(
        store_module.pa.Table.from_pylist([dict(rows[0], embedding=[0.5] * DIMS)], schema=store.images.schema)
    )
    problems = check_index(store)
    assert [problem.split(':')[1].strip() for problem in problems] == [rows[0]['sha256'], '0/3', '0/3']
    assert check_index(store, files=True)[-1].startswith('6 files that are missing')
    data = max((tmp_path / 'index' / 'images.lance' / 'data').iterdir(), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:200])
    (problem,) = check_index(ImageStore.open(store.folder))
    assert problem.startswith('cannot be read')
