"""An index whose build is killed again and again is whole each time, and in the end has every image once.

``KDEOV_KILLS`` in the environment is the number of kills, ``KDEOV_KILL_SEED`` chooses their moments.
"""

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

from search_data import write_images

KILLS = int(os.environ.get('KDEOV_KILLS', 2))
SEED = int(os.environ.get('KDEOV_KILL_SEED', 0))
FILES = 200

# New processes are forked from one that has imported what is slow; LanceDB, which starts threads, is not for forks.
processes = multiprocessing.get_context('forkserver')
processes.set_forkserver_preload(['kdeov_mm', 'onnxruntime', 'pandas', 'pyarrow'])


def build(paths, folder, encoder_file, log):
    """Build in small transactions; note in a file that building begins, and how many files each has brought."""
    from kdeov_mm.search import ImageEncoder, ImageStore, update_index

    encoder = ImageEncoder(encoder_file, threads=1)
    with open(log, 'w', buffering=1) as file:
        file.write('begins\n')
        store = ImageStore.create(folder, encoder.describe())
        update_index(
            paths,
            store,
            encoder,
            batch_size=3,
            commit_size=5,
            workers=2,
            progress=lambda number: file.write(f'{number}\n'),
        )


def wait(process, log, seconds):
    """Wait until building has begun, and then some."""
    while process.is_alive() and not (log.exists() and log.read_text()):
        time.sleep(0.005)
    process.join(seconds)


def test_a_build_killed_at_any_moment_keeps_what_was_committed(tmp_path, encoder_file):
    from kdeov_mm.search import ImageEncoder, ImageStore, check_index, update_index

    paths = write_images(tmp_path / 'photos', FILES)
    paths.append(str(shutil.copy(paths[7], tmp_path / 'duplicate.jpg')))
    (tmp_path / 'broken.jpg').write_bytes(b'broken')
    paths.append(str(tmp_path / 'broken.jpg'))
    folder, rng, before = str(tmp_path / 'index'), random.Random(SEED), 0
    for kill in range(KILLS):
        log = tmp_path / f'log{kill}.txt'
        process = processes.Process(target=build, args=(paths, folder, encoder_file, log))
        process.start()
        wait(process, log, rng.uniform(0, 1.5 / KILLS**0.5))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        done = sum(map(int, log.read_text().splitlines()[1:]))
        if Path(folder, 'images.lance', '_versions').exists():
            store = ImageStore.open(folder)
            assert check_index(store, files=True) == []
            known = len(store.known(paths))
            assert known >= max(done, before)
            before = known
    encoder = ImageEncoder(encoder_file, threads=1)
    store = ImageStore.create(folder, encoder.describe())
    report = update_index(paths, store, encoder, batch_size=3)
    assert report.unchanged >= before and len(store) == FILES and [row['path'] for row in store.broken()] == paths[-1:]
    assert sorted(store.paths()) == sorted(paths) and check_index(store, files=True) == []
