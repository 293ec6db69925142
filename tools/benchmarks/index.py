"""Measure the index: searches among synthetic vectors beside FAISS, and how fast a folder of images is embedded.

    python tools/benchmarks/index.py vectors --number 1000000 --threads 2
    python tools/benchmarks/index.py images photos/ --model encoder.onnx

``vectors`` draws normalised vectors from clusters, and queries from the same clusters. Each store is built, opened and
asked one query after another; the table has its fastest setting with recall@10 of 0.95 or more against exact search.
``images`` compares building an index with the bare model on preprocessed inputs, interleaved in one run.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import kdeov_mm  # noqa: F401  before any module of MMDetection or MMYOLO
import numpy as np
from kdeov_mm.utils import interruptible

RECALL = 0.95
NEIGHBOURS = 10
DIMS, QUERIES, CLUSTER = 512, 200, 100  # of synthetic vectors; the last is their mean number in a cluster
BATCH_SIZE, ROUNDS = 32, 5  # of images; each round measures both, interleaved


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest='what', required=True)
    vectors = what.add_parser('vectors', help='searches among synthetic vectors')
    vectors.add_argument('--number', type=int, default=50_000, help='vectors')
    vectors.add_argument(
        '--stores',
        nargs='+',
        choices=STORES,
        default=list(STORES),
        metavar='STORE',
        help=f'default: {" ".join(STORES)}',
    )
    vectors.add_argument('--threads', type=int, default=2, help='cores that are used')
    images = what.add_parser('images', help='embedding of a folder')
    images.add_argument('images', nargs='+', help='image files, or folders of them')
    images.add_argument('--model', required=True, metavar='FILE', help='image encoder (.onnx)')
    images.add_argument('--threads', type=int, default=1, help='threads of the model')
    images.add_argument('--workers', type=int, help='threads that decode; default: one for each core but one')
    args = parser.parse_args()
    for name in ('number', 'threads'):
        if getattr(args, name, 1) < 1:
            parser.error(f'--{name} must be at least 1, got {getattr(args, name)}')
    return args


def clustered(number: int, queries: int, dims: int, cluster: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normalised vectors ``[number, D]`` and queries ``[queries, D]`` around the same random centres.

    Centres and deviations (0.7 times as large) are Gaussian; their variance falls over the dimensions as
    1 / (1 + i / 8), since embeddings fill few of their dimensions.
    """
    rng = np.random.default_rng(seed)
    spread = (1 + np.arange(dims) / 8) ** -0.5
    centres = (rng.standard_normal((max(number // cluster, 1), dims)) * spread).astype(np.float32)

    def draw(count: int) -> np.ndarray:
        found = np.empty((count, dims), np.float32)
        for start in range(0, count, 10_000):
            part = found[start : start + 10_000]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32) * spread * 0.7
            part += centres[rng.integers(0, len(centres), len(part))]
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return found

    return draw(number), draw(queries)


def exact_neighbours(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Return the nearest vectors of each query by cosine, int ``[Q, 10]``."""
    similarities = np.concatenate([queries @ part.T for part in np.array_split(vectors, -(-len(vectors) // 50_000))], 1)
    return np.argpartition(-similarities, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


class Store:
    """Describes a measured store: how to build, open and query it in each of its settings."""

    settings: list[dict] = [{}]
    queries = 1_000_000  # at most

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, vectors: np.ndarray) -> None:
        """Write the vectors and what makes searches fast."""
        raise NotImplementedError

    def open(self) -> Callable[..., list[int]]:
        """Return the search: ``search(query, **setting)`` returns the indices of the nearest vectors."""
        raise NotImplementedError


class KdeovStore(Store):
    """Measures the index of this package with its default settings."""

    def build(self, vectors: np.ndarray) -> None:
        from kdeov_mm.search import ImageStore, Model
        from kdeov_mm.search.store import pa

        store = ImageStore.create(str(self.folder), Model('synthetic', '0' * 64, vectors.shape[1]))
        rng = np.random.default_rng(0)  # columns of one value would be stored, and read, in another way
        for start in range(0, len(vectors), 50_000):
            part = vectors[start : start + 50_000]
            numbers = range(start, start + len(part))
            columns = dict(
                {name: rng.integers(200, 2000, len(part)) for name in ('size', 'mtime_ns', 'width', 'height')},
                sha256=[rng.bytes(32).hex() for _ in numbers],
                path=[str(i) for i in numbers],
                thumbnail=[rng.bytes(200) for _ in numbers],
                embedding=pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1]),
            )
            schema = store.images.schema
            store.images.add(pa.table({name: columns[name] for name in schema.names}, schema=schema))
        self.make_index(store)

    def make_index(self, store) -> None:
        store.optimize()

    def open(self) -> Callable[..., list[int]]:
        from kdeov_mm.search import ImageStore

        store = ImageStore.open(str(self.folder))
        len(store)
        return lambda query, **setting: [int(row['path']) for row in store.search(query, NEIGHBOURS, **setting)]


class LanceStore(KdeovStore):
    """LanceDB with one of its vector indices."""

    settings = [dict(nprobes=nprobes, refine=refine) for nprobes in (5, 10, 20, 40, 80) for refine in (4, 10)]

    def config(self, partitions: int):
        raise NotImplementedError

    def make_index(self, store) -> None:
        store.images.create_index('embedding', config=self.config(max(1, len(store) // 2048)))


class LanceScan(LanceStore):
    """LanceDB without one."""

    settings, queries = [{}], 20

    def make_index(self, store) -> None:
        pass


class LanceRabitQ(LanceStore):
    def config(self, partitions: int):
        from lancedb.index import IvfRq

        return IvfRq(distance_type='cosine', num_partitions=partitions)


class LanceSq(LanceStore):
    def config(self, partitions: int):
        from lancedb.index import IvfSq

        return IvfSq(distance_type='cosine', num_partitions=partitions)


class LancePq(LanceStore):
    settings = [dict(nprobes=nprobes, refine=refine) for nprobes in (10, 20, 40, 80) for refine in (4, 10, 20)]

    def config(self, partitions: int):
        from lancedb.index import IvfPq

        return IvfPq(distance_type='cosine', num_partitions=partitions, num_sub_vectors=64)


class LanceHnsw(LanceStore):
    settings = [dict(nprobes=1, refine=refine) for refine in (1, 4)]

    def config(self, partitions: int):
        from lancedb.index import HnswSq

        return HnswSq(distance_type='cosine', num_partitions=1, ef_construction=150)


class FaissStore(Store):
    """FAISS; its index is one file, read into memory."""

    settings = [dict(nprobe=nprobe) for nprobe in (5, 10, 20, 40, 80)]

    def factory(self, partitions: int) -> str:
        """FAISS's description of the index."""
        raise NotImplementedError

    def build(self, vectors: np.ndarray) -> None:
        import faiss

        partitions = max(1, len(vectors) // 2048)
        index = faiss.index_factory(vectors.shape[1], self.factory(partitions), faiss.METRIC_INNER_PRODUCT)
        index.train(vectors[: 256 * partitions])
        index.add(vectors)
        self.folder.mkdir()
        faiss.write_index(index, str(self.folder / 'index'))

    def open(self) -> Callable[..., list[int]]:
        import faiss

        index = faiss.read_index(str(self.folder / 'index'))

        def search(query: np.ndarray, **setting) -> list[int]:
            space = faiss.ParameterSpace()
            for name, value in setting.items():
                space.set_index_parameter(index, name, value)
            return index.search(query[None], NEIGHBOURS)[1][0].tolist()

        return search


class FaissFlat(FaissStore):
    settings, queries = [{}], 20

    def factory(self, partitions: int) -> str:
        return 'Flat'


class FaissSq(FaissStore):
    def factory(self, partitions: int) -> str:
        return f'IVF{partitions},SQ8'


class FaissPq(FaissStore):
    settings = [dict(nprobe=nprobe, k_factor_rf=factor) for nprobe in (10, 20, 40, 80) for factor in (4, 10, 20)]

    def factory(self, partitions: int) -> str:
        return f'IVF{partitions},PQ64,RFlat'


class FaissRabitQ(FaissPq):
    def factory(self, partitions: int) -> str:
        return f'IVF{partitions},RaBitQ,RFlat'


class FaissHnsw(FaissStore):
    settings = [dict(efSearch=ef) for ef in (32, 64, 128, 256)]

    def factory(self, partitions: int) -> str:
        return 'HNSW32,SQ8'


STORES: dict[str, type] = {
    'kdeov': KdeovStore,
    'lance-scan': LanceScan,
    'lance-ivf-rabitq': LanceRabitQ,
    'lance-ivf-sq': LanceSq,
    'lance-ivf-pq': LancePq,
    'lance-hnsw-sq': LanceHnsw,
    'faiss-flat': FaissFlat,
    'faiss-ivf-sq': FaissSq,
    'faiss-ivf-pq': FaissPq,
    'faiss-ivf-rabitq': FaissRabitQ,
    'faiss-hnsw-sq': FaissHnsw,
}


def use_cores(number: int) -> None:
    """Bind this process to so many cores; LanceDB and FAISS start as many threads."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])
    os.environ['OMP_NUM_THREADS'] = str(number)


def measure(store: Store, vectors: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> dict:
    """Seconds to build and to open, milliseconds a query, recall and bytes of one store."""
    start = time.perf_counter()
    store.build(vectors)
    built = time.perf_counter()
    search = store.open()
    opened = time.perf_counter()
    search(queries[0], **store.settings[0])
    first = time.perf_counter() - opened
    results = [ask(search, setting, queries[: store.queries], truth) for setting in store.settings]
    good = [result for result in results if result['recall'] >= RECALL]
    best = min(good, key=lambda result: result['p50']) if good else max(results, key=lambda result: result['recall'])
    return dict(best, build=built - start, open=opened - built, first=first, bytes=size_of(store.folder))


def ask(search: Callable[..., list[int]], setting: dict, queries: np.ndarray, truth: np.ndarray) -> dict:
    """Recall, median and 95th percentile of milliseconds, and milliseconds of CPU time, of one setting."""
    seconds, hits, used = [], 0, time.process_time()
    for query, expected in zip(queries, truth):
        start = time.perf_counter()
        found = search(query, **setting)
        seconds.append(time.perf_counter() - start)
        hits += len(set(found) & set(expected.tolist()))
    p50, p95 = np.quantile(seconds, (0.5, 0.95)) * 1000
    cpu = 1000 * (time.process_time() - used) / len(queries)
    result = dict(setting=setting, recall=hits / NEIGHBOURS / len(queries), p50=p50, p95=p95, cpu=cpu)
    print(
        f'    {setting or "default"}: recall {result["recall"]:.3f}, p50 {p50:.2f} ms, p95 {p95:.2f} ms, '
        f'CPU {cpu:.2f} ms',
        flush=True,
    )
    return result


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def measure_vectors(args: argparse.Namespace) -> None:
    use_cores(args.threads)
    vectors, queries = clustered(args.number, QUERIES, DIMS, CLUSTER)
    truth = exact_neighbours(vectors, queries)
    columns = (
        'store',
        'build s',
        'open s',
        'first query s',
        'size MB',
        'fastest setting',
        'p50 ms',
        'p95 ms',
        'CPU ms',
        'recall@10',
    )
    lines = ['| ' + ' | '.join(columns) + ' |', '| --- ' * len(columns) + '|']
    with tempfile.TemporaryDirectory(prefix='benchmark_index_') as folder:
        for name in args.stores:
            print(name, flush=True)
            store = STORES[name](Path(folder, name))
            found = measure(store, vectors, queries, truth)
            shutil.rmtree(store.folder)
            setting = ', '.join(f'{key} {value}' for key, value in found['setting'].items())
            lines.append(
                f'| {name} | {found["build"]:.0f} | {found["open"]:.3f} | {found["first"]:.3f} | '
                f'{found["bytes"] / 1e6:.0f} | {setting} | {found["p50"]:.2f} | {found["p95"]:.2f} | '
                f'{found["cpu"]:.2f} | {found["recall"]:.3f} |'
            )
    print(f'\n{args.number} vectors, {DIMS} dimensions, {QUERIES} queries, {args.threads} cores')
    print('\n'.join(lines))


def measure_images(args: argparse.Namespace) -> None:
    """Print how many images a second the bare model embeds, and building an index, and their ratio."""
    from kdeov_mm.apis import find_images
    from kdeov_mm.deploy import read_image
    from kdeov_mm.search import IndexEncoder, ImageStore, update_index

    paths, encoder = find_images(args.images), IndexEncoder(args.model, args.threads)
    ready = [encoder.prepare(read_image(path, encoder.min_size)) for path in paths[:BATCH_SIZE]]
    ready = (ready * BATCH_SIZE)[:BATCH_SIZE]
    rates: dict[str, list[float]] = dict(bare=[], build=[])
    with tempfile.TemporaryDirectory(prefix='benchmark_index_') as folder:
        for round_ in range(ROUNDS):
            start = time.perf_counter()
            for _ in range(-(-len(paths) // BATCH_SIZE)):
                encoder.encode(ready)
            rates['bare'].append(-(-len(paths) // BATCH_SIZE) * BATCH_SIZE / (time.perf_counter() - start))
            store = ImageStore.create(str(Path(folder, str(round_))), encoder.describe())
            start = time.perf_counter()
            report = update_index(paths, store, encoder, BATCH_SIZE, workers=args.workers)
            rates['build'].append(len(paths) / (time.perf_counter() - start))
            print(
                f'round {round_ + 1}: bare {rates["bare"][-1]:.1f}, build {rates["build"][-1]:.1f} images/s; '
                f'{report.added} added',
                flush=True,
            )
    bare, build = (float(np.median(values)) for values in rates.values())
    workers = args.workers or max(1, os.cpu_count() - 1)
    print(
        f'{len(paths)} files, {args.threads} threads for the model, {workers} for decoding: '
        f'bare model {bare:.1f} images/s, build {build:.1f} images/s, ratio {build / bare:.2f} '
        f'(medians of {ROUNDS})'
    )


@interruptible()
def main() -> None:
    args = parse_args()
    dict(vectors=measure_vectors, images=measure_images)[args.what](args)


if __name__ == '__main__':
    main()
