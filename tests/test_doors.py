"""Every door against every hostile file of its kind: refused clearly, or a defined result; nothing in a file runs.

A door is anything that reads what somebody else may have written. The files are those of ``make_hostile_files.py``.
Each door runs in a process of its own with bounded memory and time. It is forked from a clean one that has imported
everything, so that hundreds of cases need not start Python anew.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, NamedTuple

import pytest
from forked import processes
from make_hostile_files import CLIP, CORPUS, MARKER, MODEL, path_of, write_corpus, write_models

ROOT = Path(__file__).resolve().parents[1]
MEMORY, SECONDS = 2**30, 60  # that a door may use beyond what is imported, and that a case may take
REFUSALS = {'ValueError', 'OSError'}


class Door(NamedTuple):
    """A reader.

    Attributes:
        kinds: Of the entries that it is given.
        read: Reads what is at a path; what it raises is its refusal.
        command: Whether it is a command, whose refusal is one line on stderr and an exit status.
        accepts: Entries that this door takes although others refuse them, and why that is right.
        refuses: Entries that it refuses although others take them.
        named: Whether its message names the file; else its caller does.
        slow: Whether it is left out of the fast tests.
        needs: Packages without which it is left out.
    """

    kinds: str
    read: Callable[[Path], Any]
    command: bool = False
    accepts: str = ''
    refuses: str = ''
    named: bool = True
    slow: bool = False
    needs: str = ''

    def entries(self) -> list[str]:
        return [name for name, entry in CORPUS.items() if entry.kind in self.kinds.split()]


# ------------------------------------------------------------------------------------------------ doors
def kdeov(*args: Any) -> None:
    """The command ``kdeov``, in this process."""
    from kdeov_mm.cli import main

    status = main([str(arg) for arg in args])
    if status:
        raise SystemExit(status)


def tool(name: str, *args: Any) -> None:
    from tool_loading import load_tool

    sys.argv = [f'{name}.py', *map(str, args)]
    load_tool(name).main()


def defect(path: Path) -> None:
    from kdeov_mm.utils.image_files import image_defect

    if found := image_defect(str(path)):
        raise ValueError(found)


def transform(path: Path) -> None:
    from kdeov_mm.datasets import LoadImageReduced

    LoadImageReduced().transform(dict(img_path=str(path)))


def input_image(path: Path) -> None:
    from kdeov_mm.apis import InputImage

    InputImage(str(path), str(path)).read()


def runtime_image(path: Path) -> None:
    from kdeov_mm.deploy import read_image

    read_image(str(path))


def upload(path: Path) -> None:
    from kdeov_mm.demo.uploads import Limits, read_upload

    read_upload(str(path), Limits())


def report(path: Path) -> None:
    from matplotlib.figure import Figure

    from kdeov_mm.evaluation.pictures import show_image

    show_image(Figure().subplots(), str(path))


def index_image(path: Path) -> None:
    import numpy as np

    from kdeov_mm.search.load import Source, load

    loaded = load(Source.of(str(path)), np.asarray, 0, 0)
    if loaded.defect:
        raise ValueError(loaded.defect)


def layer() -> Any:
    import torch

    return torch.nn.Linear(1, 1)


def check(path: Path, **options: Any) -> None:
    from kdeov_mm.utils import check_checkpoint

    check_checkpoint(str(path), **options)


def weights(path: Path) -> None:
    from kdeov_mm.utils import load_weights

    load_weights(layer(), str(path))


def starting_weights(path: Path) -> None:
    from kdeov_mm.utils.checkpoint import check_weights

    check_weights(layer(), str(path), partial=True)


def smaller_weights(path: Path) -> None:
    from kdeov_mm.utils import export_weights

    export_weights(str(path), 'out.safetensors')


def teacher(path: Path) -> None:
    from kdeov_mm.models import OpenCLIPTeacher

    OpenCLIPTeacher(CLIP, str(path))


def runtime(path: Path) -> None:
    import numpy as np

    from kdeov_mm.deploy import Runtime

    Runtime(path, threads=1).encode_image([np.zeros((32, 32, 3), np.uint8)])


def inferencer(path: Path) -> None:
    import numpy as np

    from kdeov_mm.apis import KDEOVInferencer

    KDEOVInferencer(path).embed(np.zeros((32, 32, 3), np.uint8))


def search_encoder(path: Path) -> None:
    from kdeov_mm.search import ImageEncoder

    ImageEncoder(str(path), threads=1)


def api_index(path: Path) -> None:
    from kdeov_mm.search import ImageStore, image_encoder_file, text_encoder_file

    store = ImageStore.open(str(path))
    image_encoder_file(store), text_encoder_file(store)


def names(path: Path) -> None:
    from kdeov_mm.text import read_class_names

    read_class_names(str(path))


def embeddings(path: Path) -> None:
    from kdeov_mm.models.clip.precomputed_text_encoder import read_embeddings

    read_embeddings(str(path))


def templates(path: Path) -> None:
    from kdeov_mm.text import resolve_templates

    resolve_templates(str(path))


def dataset(type_: str, **options: Any) -> Callable[[Path], None]:
    """A data set whose annotation file is the entry, and whose images are those of the corpus."""

    def build(path: Path) -> None:
        from mmengine.registry import init_default_scope
        from mmyolo.registry import DATASETS

        init_default_scope('mmyolo')
        root = path.parents[1]
        built = DATASETS.build(
            dict(
                type=type_,
                data_root=str(root),
                ann_file=os.path.join(path.parent.name, path.name),
                data_prefix=dict(img='images/'),
                pipeline=[dict(type='LoadImageReduced')],
                test_mode=True,
                **options,
            )
        )
        for sample in range(len(built)):
            built[sample]

    return build


def teacher_store(path: Path) -> None:
    from kdeov_mm.datasets import TeacherStore

    store = TeacherStore(path)
    store.rows(range(len(store)))


def regions(path: Path) -> None:
    import torch

    from kdeov_mm.datasets.region_store import RegionStore

    RegionStore(str(path)).embeddings(torch.tensor([0]))


def world(path: Path) -> None:
    from kdeov_mm.datasets import ensure_world

    ensure_world(path, splits=['val'], sizes=dict(val=1))


def costs(path: Path) -> None:
    from tool_loading import load_tool

    load_tool('compare').read_costs(path)


def model_name(path: Path) -> None:
    from kdeov_mm.apis.resolve import resolve_model

    os.chdir(path.parent)
    config, _ = resolve_model(path.name)
    assert Path(config).resolve().is_relative_to(ROOT)


MODELS = Path('models')  # in the current folder of a door
SHIPPED = ['--names', 'dog', 'cat', '--device', 'cpu']
CLASSIFY = ['--names', 'dog', 'cat', '--model', './models']
GOOD = '{images}/good.jpg'


def good(path: Path) -> Path:
    """A good image of the corpus."""
    return path.parents[1] / 'images' / 'good.jpg'


ONNX_DATA = 'onnxruntime onnx'
DOORS = {
    # images
    'training: check of images': Door('image', defect, named=False),
    'training: loading of images': Door('image', transform, named=False),
    'API: image': Door('image', input_image),
    'runtime: image': Door('image', runtime_image, needs='onnxruntime'),
    'demo: upload': Door('image', upload, named=False, needs='onnxruntime'),
    'report: image': Door('image', report, named=False),
    'index: image': Door('image', index_image, named=False, needs='lancedb'),
    'kdeov classify IMAGE': Door('image', lambda path: kdeov('classify', path, *CLASSIFY), True, needs=ONNX_DATA),
    'kdeov detect IMAGE': Door('image', lambda path: kdeov('detect', path, *CLASSIFY), True, needs=ONNX_DATA),
    'kdeov search --image IMAGE': Door(
        'image', lambda path: kdeov('search', '--image', path, good(path), '--model', './models'), True, needs=ONNX_DATA
    ),
    # weights
    'load_from': Door('checkpoint', starting_weights),
    'load_weights': Door('checkpoint', weights),
    'check_checkpoint': Door('checkpoint', check, accepts='nan.pth nan.safetensors'),
    '--resume': Door('checkpoint', lambda path: check(path, resume=True), refuses='good.safetensors'),
    'export_weights': Door('checkpoint', smaller_weights),
    'teacher': Door('checkpoint', teacher, refuses='good.pth good.safetensors', slow=True),  # of another model
    'kdeov classify --checkpoint': Door(
        'checkpoint',
        lambda path: kdeov('classify', good(path), *SHIPPED, '--checkpoint', path),
        True,
        refuses='good.pth good.safetensors',
        slow=True,
    ),
    'kdeov export CHECKPOINT': Door(
        'checkpoint',
        lambda path: kdeov('export', MODEL, path, '--kinds', 'image_encoder', '--out-dir', 'export'),
        True,
        refuses='good.pth good.safetensors',
        slow=True,
        needs='onnxscript',
    ),
    # exported models
    'Runtime': Door('onnx', runtime, needs=ONNX_DATA),
    'KDEOVInferencer': Door('onnx', inferencer, needs=ONNX_DATA),
    'ImageEncoder': Door('onnx', search_encoder, accepts='nan.onnx', needs=f'{ONNX_DATA} lancedb'),
    'kdeov search --model': Door(
        'onnx', lambda path: kdeov('search', '--image', good(path), good(path), '--model', path), True, needs=ONNX_DATA
    ),
    'kdeov index build --model': Door(
        'onnx',
        lambda path: kdeov('index', 'build', good(path), '--model', path, '--index', f'index_{time.monotonic_ns()}'),
        True,
        needs=f'{ONNX_DATA} lancedb',
        slow=True,
    ),
    # indexes
    'API: index': Door('index', api_index, needs='lancedb'),
    'kdeov search --index': Door(
        'index', lambda path: kdeov('search', 'a dog', '--index', path), True, needs='lancedb'
    ),
    'kdeov index query': Door(
        'index', lambda path: kdeov('index', 'query', '--image', good(path), '--index', path), True, needs='lancedb'
    ),
    # names and what goes with them
    'read_class_names': Door('names', names),
    'kdeov classify --names-file': Door(
        'names',
        lambda path: kdeov('classify', good(path), '--names-file', path, '--model', './models'),
        True,
        needs=ONNX_DATA,
    ),
    'read_embeddings': Door('embeddings', embeddings),
    'kdeov classify --embeddings': Door(
        'embeddings',
        lambda path: kdeov('classify', good(path), '--embeddings', path, *CLASSIFY),
        True,
        needs=ONNX_DATA,
    ),
    'templates': Door('templates', templates),
    'name of a model': Door('shadow', model_name),
    'kdeov classify --model NAME': Door(
        'shadow',
        lambda path: (os.chdir(path.parent), kdeov('classify', good(path), *SHIPPED, '--model', path.name)),
        True,
        slow=True,
    ),
    # data sets
    'OVCocoDataset': Door('annotations boxes', dataset('OVCocoDataset', groups=None)),
    'OVLVISDataset': Door('annotations boxes', dataset('OVLVISDataset', groups=None)),
    'ImageTextDataset, coco': Door('annotations captions', dataset('ImageTextDataset', format='coco')),
    'ImageTextDataset, karpathy': Door(
        'annotations', dataset('ImageTextDataset', format='karpathy'), refuses='good.coco extra.coco'
    ),
    'ImageTextDataset, table': Door('table', dataset('ImageTextDataset', format='table')),
    'make_ov_split.py': Door(
        'boxes', lambda path: tool('make_ov_split', path, '--vocabulary', 'vocabulary.json'), True
    ),
    'TeacherStore': Door('store', teacher_store),
    'RegionStore': Door('store', regions),
    'shapes': Door('world', world),
    'compare.py': Door('costs', costs),
}


# ------------------------------------------------------------------------------------------------ running them
def run_door(name: str, folder: Path, entries: list[str], out: Path) -> None:
    """Give entries to a door, in a process of its own; write a line of JSON for each, and one when it begins."""
    log = os.open(out.with_suffix('.log'), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout = open(1, 'w', errors='strict', closefd=False)  # noqa: SIM115
    sys.stderr = open(2, 'w', errors='backslashreplace', closefd=False)  # noqa: SIM115
    work = out.with_suffix('.work')
    work.mkdir(exist_ok=True)
    os.chdir(work)
    door = DOORS[name]
    prepare(door, work)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    with open(out, 'a') as results:
        for entry in entries:
            print(json.dumps([entry, None]), file=results, flush=True)
            os.ftruncate(log, 0)
            found: dict[str, Any] = dict(error=None, status=None)
            begin = time.monotonic()
            try:
                door.read(path_of(folder, entry))
            except SystemExit as ended:
                found['status'] = ended.code
            except BaseException as error:
                found.update(error=[kind.__name__ for kind in type(error).__mro__], message=str(error))
            sys.stdout.flush(), sys.stderr.flush()
            os.chdir(work)
            ran = [place for place in (work, path_of(folder, entry).parent, folder) if (place / MARKER).exists()]
            for place in ran:
                (place / MARKER).unlink() if (place / MARKER).is_file() else (place / MARKER).rmdir()
            said = os.pread(log, 1_000_000, 0).decode(errors='backslashreplace')
            found.update(executed=bool(ran), said=said, seconds=time.monotonic() - begin)
            print(json.dumps([entry, found]), file=results, flush=True)
    os._exit(0)  # libraries need not end in so little memory


def prepare(door: Door, work: Path) -> None:
    """What doors need, and what they import only when they are used: the limit of memory is for what they read."""
    import torch

    os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] = '1'  # no environment may lift the restriction
    torch.set_num_threads(1)
    for package in ('matplotlib.figure', *door.needs.split()):
        if find_spec(package):
            __import__(package)
    if 'lancedb' in door.needs:
        import kdeov_mm.search  # noqa: F401
    if 'onnx' in door.needs.split() and not MODELS.exists():
        write_models(work / MODELS)
    (work / 'vocabulary.json').write_text('{"base": ["dog"]}')


@pytest.fixture(scope='module')
def corpus(tmp_path_factory):
    """The folder of all entries whose packages are here."""
    folder = tmp_path_factory.mktemp('corpus')
    kinds = {entry.kind for entry in CORPUS.values()}
    missing = {'onnx': 'onnx', 'index': 'lancedb'}
    kinds -= {kind for kind, package in missing.items() if find_spec(package) is None}
    process = processes.Process(target=write_corpus, args=(folder, *sorted(kinds)))
    process.start()
    process.join()
    if process.exitcode:
        pytest.skip('this system has no such files')
    return folder


@pytest.fixture(scope='module')
def outcomes(corpus, tmp_path_factory):
    """Gives what a door made of each of its entries."""
    known: dict[str, dict] = {}

    def run(name: str) -> dict:
        if name not in known:
            out = tmp_path_factory.mktemp('door') / 'results'
            known[name] = {}
            while left := [entry for entry in DOORS[name].entries() if entry not in known[name]]:
                process = processes.Process(target=run_door, args=(name, corpus, left, out))
                process.start()
                watch(process, out)
                lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
                known[name] = {entry: found for entry, found in lines if found} | {
                    entry: dict(died=process.exitcode)
                    for entry, times in Counter(entry for entry, _ in lines).items()
                    if times == 1
                }
                assert process.exitcode == 0 or lines, process.exitcode
        return known[name]

    return run


def watch(process: Any, out: Path) -> None:
    """Wait for a door's end; kill it when a case takes too long."""
    size, since = -1, time.monotonic()
    while process.is_alive():
        process.join(0.2)
        now = out.stat().st_size if out.exists() else 0
        if now != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since > SECONDS:
            os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.mark.parametrize(
    'door, entry',
    [
        pytest.param(name, entry, id=f'{name}-{entry!a}', marks=[pytest.mark.slow] * door.slow)
        for name, door in DOORS.items()
        for entry in door.entries()
    ],
)
def test_door(outcomes, door, entry):
    reader, expected = DOORS[door], CORPUS[entry].accepted
    for package in reader.needs.split():
        pytest.importorskip(package)
    expected = entry in reader.accepts.split() or expected and entry not in reader.refuses.split()
    found = outcomes(door)[entry]
    assert 'died' not in found, found
    assert not found['executed'] and found['seconds'] < SECONDS
    said, message = found['said'], found.get('message') or ''
    assert not set('\x1b\u202e') & set(said + message), (said, message)
    if expected:
        assert found['error'] is None and not found['status'], (message, said)
        return
    shown = Path(entry).name.encode('unicode_escape').decode() if entry.isprintable() else entry[-4:]
    if reader.command:
        lines = said.strip().splitlines()
        assert found['error'] is None and found['status'] not in (None, 0), found
        assert lines and lines[-1].startswith('error: ') and 'Traceback' not in said, said
        assert [line for line in lines if shown in line], said
        return
    kinds = set(found['error'] or ())
    assert kinds & REFUSALS or 'max_broken' in message, found
    assert len(message) < 2000 and (shown in message or not reader.named), message


def test_a_folder_of_everything(corpus, tmp_path):
    """What can be read is found and read, whatever else is in the folder; a link back to it is followed once."""
    from kdeov_mm.apis import find_images
    from kdeov_mm.datasets.caption_files import read_folder

    images = corpus / 'images'
    expected = sorted(str(path_of(corpus, name)) for name, entry in CORPUS.items() if entry.kind == 'image')
    expected.remove(str(images / 'absent.jpg'))
    expected = [path for path in expected if not path.endswith('/folder.jpg')]
    assert sorted(find_images([str(images)])) == expected
    assert sorted(read_folder(str(images))) == [os.path.relpath(path, images) for path in expected]


def test_the_script_writes_the_corpus_by_itself(tmp_path, monkeypatch, capsys):
    import make_hostile_files

    kept = {name: entry for name, entry in CORPUS.items() if entry.kind in ('image', 'names')}
    monkeypatch.setattr(make_hostile_files, 'CORPUS', kept)
    monkeypatch.setattr(sys, 'argv', ['make_hostile_files.py', str(tmp_path / 'corpus')])
    make_hostile_files.main()
    assert len(capsys.readouterr().out.splitlines()) == len(kept)
    assert (tmp_path / 'corpus' / 'images' / 'fifo.jpg').is_fifo() and not list(tmp_path.rglob(MARKER))
    shutil.rmtree(tmp_path / 'corpus')
