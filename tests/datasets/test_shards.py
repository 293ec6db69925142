"""ImageTextShards: every sample once over all processes and workers; broken images; going on in the middle."""

import io
import json
import sys
import tarfile
from collections import Counter
from unittest import mock

import pytest
from mmengine.runner import Runner

from kdeov_mm.datasets import ImageTextShards
from kdeov_mm.datasets import shards as module
from kdeov_mm.utils.decode import decode_image

PIPELINE = [
    dict(type='LoadImageReduced', min_size=64),
    dict(type='mmdet.Resize', scale=(64, 64)),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'captions', 'flip')),
]
SIZES = (7, 12, 3, 9, 6)  # 37 samples: divisible by nothing
pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.fixture(scope='module')
def folder(write_shards, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp('shards') / 'data', SIZES)


@pytest.fixture
def build():
    """Builds the data set of one of several processes."""

    def make(folder, rank=0, world_size=1, **options):
        with mock.patch.object(module, 'get_dist_info', lambda: (rank, world_size)):
            return ImageTextShards(**{**dict(shards=f'{folder}/*.tar', batch_size=4, pipeline=PIPELINE), **options})

    return make


def batches(dataset, workers=0, **options):
    """A pass: for each batch the keys and flips of its samples."""
    dataloader = Runner.build_dataloader(
        dict(dataset=dataset, batch_size=dataset.batch_size, sampler=None, num_workers=workers, **options), seed=0
    )
    found = [[(sample.img_id, sample.flip) for sample in batch['data_samples']] for batch in dataloader]
    assert len(found) == len(dataloader)
    return found


def keys(passed):
    return [key for batch in passed for key, _ in batch]


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('world_size, workers', [(1, 0), (1, 2), (2, 2), (2, 0), (3, 1), (4, 3)])
def test_no_sample_is_lost_and_only_those_that_fill_up_come_twice(folder, pairs, build, world_size, workers, shuffle):
    found = [
        keys(batches(build(folder, rank, world_size, shuffle=shuffle, buffer_size=5), workers))
        for rank in range(world_size)
    ]
    expected = sorted(name[:-4] for name in list(pairs)[: sum(SIZES)])
    assert sorted(set(sum(found, []))) == expected
    assert {len(each) for each in found} == {-(-sum(SIZES) // world_size)}


@pytest.mark.parametrize('drop_last', [True, False])
def test_all_processes_make_the_same_number_of_steps(folder, build, drop_last):
    found = [batches(build(folder, rank, 2), 2, drop_last=drop_last) for rank in range(2)]
    assert [len(batch) for batch in found[0]] == [len(batch) for batch in found[1]]
    assert [len(batch) for batch in found[0]] == [4] * 4 + [3] * (not drop_last)
    if not drop_last:
        times = Counter(keys(found[0]) + keys(found[1]))
        assert len(times) == 37 and sum(times.values()) == 38


def test_the_pairs_are_the_real_ones(folder, pairs, build):
    for captions, expected in (
        ('txt', lambda texts: texts[:1]),
        ('json:captions', lambda texts: texts),
        ('json:nothing', lambda texts: []),
        (None, lambda texts: []),
    ):
        for data in build(folder, captions=captions):
            assert data['data_samples'].captions == expected(pairs[data['data_samples'].img_id + '.jpg'])
            assert data['inputs'].shape == (3, 64, 64)
    first = next(iter(build(folder, shuffle=False)))['data_samples']
    assert first.img_path == f'{folder}/00000.tar/{first.img_id}.jpg'


def test_the_order_is_a_function_of_seed_and_epoch(folder, build):
    def draw(seed=0, epoch=0, **options):
        dataset = build(folder, seed=seed, buffer_size=5, **options)
        dataset.set_epoch(epoch)
        return batches(dataset, 2)

    assert draw() == draw()
    orders = [keys(draw()), keys(draw(epoch=1)), keys(draw(seed=1)), keys(draw(shuffle=False))]
    assert len(set(map(tuple, orders))) == 4


@pytest.mark.parametrize('workers', [0, 2, 3])
@pytest.mark.parametrize('start', [0, 1, 4, 9, 10])
def test_it_goes_on_with_the_batches_that_were_to_come(folder, build, workers, start):
    dataset = build(folder, buffer_size=5)
    dataset.set_epoch(3)
    whole = batches(dataset, workers)
    assert len(whole) == 10 and len({flip for batch in whole for _, flip in batch}) == 2
    dataset = build(folder, buffer_size=5)
    dataset.set_epoch(3, start)
    dataloader = Runner.build_dataloader(dict(dataset=dataset, batch_size=4, sampler=None, num_workers=workers), seed=1)
    rest = [[(sample.img_id, sample.flip) for sample in batch['data_samples']] for batch in dataloader]
    assert rest == whole[start:]


def test_skipped_images_are_not_decoded(folder, build):
    dataset = build(folder)
    dataset.set_epoch(0, 8)
    with mock.patch('kdeov_mm.datasets.load_image.decode_image', wraps=decode_image) as decode:
        assert len(list(dataset)) == decode.call_count == 37 - 32


# ------------------------------------------------------------------------------------------------ sizes
def test_sizes_beside_the_shards_are_taken(folder, build, tmp_path):
    names = [f'{number:05}.tar' for number in range(5)]
    for name in names:
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / 'sizes.json').write_text(json.dumps(dict(zip(names, SIZES))))
    with mock.patch.object(module, 'count_local', side_effect=AssertionError):
        assert len(build(tmp_path)) == 37
    for wrong in (11, 13):
        with pytest.raises(ValueError, match=rf'00001\.tar.*\b{wrong}\b'):
            list(build(tmp_path, sizes={**dict(zip(names, SIZES)), names[1]: wrong}))
    with pytest.raises(ValueError, match=r'00003\.tar'):
        build(tmp_path, sizes=dict.fromkeys(names[:3], 1))


@pytest.mark.parametrize(
    'options, error, named',
    [
        (dict(shards='none/*.tar'), FileNotFoundError, r'none/\*.tar'),
        (dict(shards='{0000..0001}.tar'), FileNotFoundError, '0000.tar'),
        (dict(shards=[]), ValueError, 'shards'),
        (dict(shards='https://example.org/{0..3}.tar'), ValueError, 'sizes.*https://example.org/0.tar'),
        (dict(pipeline=[dict(type='LoadImageFromFile')]), ValueError, 'LoadImageReduced'),
        (dict(max_broken=-1), ValueError, 'max_broken'),
        (dict(world_size=38), ValueError, r'\b37\b.*\b38\b'),
    ],
)
def test_refusals(folder, build, options, error, named):
    with pytest.raises(error, match=named):
        build(folder, **options)


def test_a_shard_is_named_once(folder, build):
    with pytest.raises(ValueError, match='shards'):
        build(folder, shards=[f'{folder}/*.tar', f'{folder}/00001.tar'])


@pytest.mark.parametrize('damage', ['cut', 'text'])
def test_a_damaged_shard_is_named(write_shards, build, tmp_path, damage):
    shard = write_shards(tmp_path / 'data', [4]) / '00000.tar'
    shard.write_bytes(shard.read_bytes()[:200000] if damage == 'cut' else b'no tar file at all' * 100)
    with pytest.raises(ValueError, match=r'00000\.tar'):
        list(build(tmp_path / 'data'))
    with pytest.raises(ValueError, match=r'00000\.tar'):
        list(build(tmp_path / 'data', sizes={'00000.tar': 4}))


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'webdataset', None)
    with pytest.raises(ImportError, match=r'pip install "kdeov_mm\[webdataset\]"'):
        ImageTextShards('a.tar', batch_size=1, pipeline=PIPELINE)


# ------------------------------------------------------------------------------------------------ broken images
@pytest.fixture
def damaged(write_shards, pairs, tmp_path):
    """Twenty samples; the fourth is cut short, the tenth is text, the eleventh has no image."""
    names = list(pairs)

    def change(name, files):
        number = names.index(name)
        if number == 3:
            files['jpg'] = files['jpg'][: len(files['jpg']) // 2]
        if number == 9:
            files['jpg'] = b'no image'
        if number == 10:
            del files['jpg']
        return files

    return write_shards(tmp_path / 'data', [6, 14], change)


@pytest.mark.parametrize('world_size, workers', [(1, 0), (2, 2)])
def test_broken_images_are_replaced(damaged, pairs, build, world_size, workers, tmp_path):
    good = {name[:-4] for number, name in enumerate(list(pairs)[:20]) if number not in (3, 9, 10)}
    found = []
    for rank in range(world_size):
        dataset = build(damaged, rank, world_size, max_broken=0.2, batch_size=3)
        dataset.list_broken(str(tmp_path / 'list.tsv'))
        found += keys(batches(dataset, workers))
    assert len(found) == 20 and set(found) == good
    listed = [line.split('\t')[1:] for line in (tmp_path / 'list.tsv').read_text().splitlines()]
    assert len(listed) == 3 and len({path for path, _ in listed}) == 3
    reasons = {path.rsplit('/', 1)[1]: reason for path, reason in listed}
    names = list(pairs)
    assert 'truncated' in reasons[names[3]] and 'cannot identify' in reasons[names[9]]
    assert reasons[names[10][:-4]] == 'has no image'


def test_too_many_broken_images_stop_the_run(damaged, build):
    with pytest.raises(RuntimeError, match=r'\b2 of 20\b.*\b1\b'):
        list(build(damaged))


def write_tar(path, members, mode='w'):
    """A tar file of ``{name: content}``; an integer is the size of a content that is not there."""
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = content if isinstance(content, int) else len(content)
            file.addfile(info, io.BytesIO(bytes(info.size) if isinstance(content, int) else content))


def test_a_file_name_is_no_command(folder, build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'pipe:touch executed; cat 00000.tar #.tar'
    (tmp_path / name).write_bytes((folder / '00000.tar').read_bytes())
    for shards in ('*.tar', 'pipe*.tar'):
        dataset = build('.', shards=shards, sizes={name: SIZES[0]}, batch_size=1)
        assert len(keys(batches(dataset))) == SIZES[0]
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('kind', ['compressed', 'member', 'header'])
def test_shards_that_take_more_memory_than_their_size_are_refused(build, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, 'MAX_IMAGE_BYTES', 1000)
    monkeypatch.setattr(module, 'MAX_HEADER', 1000)
    content = {'a.jpg': 2000 if kind == 'member' else 10}
    if kind == 'header':
        content['b' * 2000 + '.jpg'] = 10  # a name so long has an entry of its own
    write_tar(tmp_path / 'data/0.tar', content, 'w:gz' if kind == 'compressed' else 'w')
    with pytest.raises(ValueError, match='0.tar'):
        build(tmp_path / 'data')
    with pytest.raises(ValueError, match='0.tar'):
        list(build(tmp_path / 'data', sizes={'0.tar': 1}))
