"""The same build on a local Ray cluster of two workers, one of which is killed on the way."""

import shutil
import threading
import time

import numpy as np
import pytest

from kdeov_mm.search import ImageStore, check_index, update_index
from kdeov_mm.search.store import select
from search_data import write_images

ray = pytest.importorskip('ray')
pytestmark = pytest.mark.slow
FILES = 400


@pytest.fixture
def cluster():
    """A head without CPUs, and two workers with one each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, object_store_memory=150 << 20))
    cluster.workers = [cluster.add_node(num_cpus=1, object_store_memory=150 << 20) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_lost_worker_loses_nothing_and_nothing_is_there_twice(cluster, tmp_path, encoder, encoder_file, store):
    from kdeov_mm.search.distributed import update_index_distributed

    paths = write_images(tmp_path / 'photos', FILES)
    paths.append(str(shutil.copy(paths[7], tmp_path / 'duplicate.jpg')))
    (tmp_path / 'broken.jpg').write_bytes(b'broken')
    paths.append(str(tmp_path / 'broken.jpg'))
    done, killed = [], threading.Event()

    def kill_one():
        while not done:
            time.sleep(0.01)
        cluster.remove_node(cluster.workers[0], allow_graceful=False)
        killed.set()

    thread = threading.Thread(target=kill_one)
    thread.start()
    report = update_index_distributed(
        paths,
        store,
        encoder_file,
        batch_size=4,
        commit_size=8,
        task_files=5,
        progress=lambda number: number and done.append(number),
    )
    thread.join()
    assert killed.is_set() and sum(done) == len(paths) and len(done) > 2
    assert (report.files, report.added, report.duplicates, list(report.broken)) == (len(paths), FILES, 1, paths[-1:])
    assert check_index(store, files=True) == [] and sorted(store.paths()) == sorted(paths)

    alone = ImageStore.create(str(tmp_path / 'alone'), encoder.describe())
    update_index(paths, alone, encoder)
    rows, expected = ({row['sha256']: row for row in select(s.images, 'true')} for s in (store, alone))
    assert rows.keys() == expected.keys()
    for sha256, row in rows.items():
        assert np.allclose(row['embedding'], expected[sha256]['embedding'], atol=1e-6)
        assert row['thumbnail'] == expected[sha256]['thumbnail'] and row['width'] == expected[sha256]['width']
    again = update_index_distributed(paths, store, encoder_file)
    assert (again.unchanged, again.added) == (len(paths), 0)
