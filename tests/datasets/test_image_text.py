"""ImageTextDataset: the same real pairs from every layout; broken images."""

import tarfile

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from kdeov_mm.datasets import ImageTextDataset
from kdeov_mm.engine.hooks.broken_images_hook import BrokenImagesHook

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=(64, 64)),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'captions', 'flip')),
]
pytestmark = pytest.mark.usefixtures('mmyolo_scope')


@pytest.mark.parametrize(
    'options, kept, captions',
    [
        (dict(format='coco', ann_file='captions.json'), slice(None), 5),
        (dict(format='karpathy', ann_file='dataset_flickr30k.json'), slice(None), 5),
        (dict(format='karpathy', ann_file='dataset_flickr30k.json', split='val'), slice(1, None, 4), 5),
        (dict(format='flickr8k', ann_file='captions.txt'), slice(None), 5),
        (dict(format='flickr8k', ann_file='captions.txt', split='Flickr_8k.trainImages.txt'), slice(30), 5),
        (dict(format='table', ann_file='cc3m.tsv'), slice(None), 1),
        (dict(format='table', ann_file='cc3m.tsv', columns=(1, 0)), None, 1),
        (dict(format='folder'), slice(None), 0),
    ],
    ids=lambda value: '-'.join(map(str, value.values())) if isinstance(value, dict) else '',
)
def test_the_real_pairs_from_every_layout(layouts, pairs, options, kept, captions):
    dataset = ImageTextDataset(data_root=str(layouts), data_prefix=dict(img='images'), **options)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    found = {info['img_path']: info['captions'] for info in infos}
    if kept is None:  # the row of names is then a pair too
        assert found.pop(str(layouts / 'images' / 'filepath')) == ['title']
        kept = slice(None)
    expected = {str(layouts / 'images' / name): texts[:captions] for name, texts in list(pairs.items())[kept]}
    assert found == expected and len(found) > 15
    assert len({info['img_id'] for info in infos}) == len(infos)


def test_a_real_image_folder(real_data, tmp_path):
    archive = real_data / 'cifar10' / 'cifar10_images.tar.gz'
    if not archive.is_file():
        pytest.skip(f'no real CIFAR-10 images in {archive}')
    with tarfile.open(archive) as file:
        members = [member for member in file if '/test/' in f'/{member.name}' and member.name.endswith('0.jpg')]
        for member in members:
            file.extract(member, tmp_path)
    dataset = ImageTextDataset(format='folder', data_root=str(tmp_path), pipeline=PIPELINE)
    assert len(dataset) == len(members) >= 500
    assert dataset[7]['inputs'].shape == (3, 64, 64) and dataset[7]['data_samples'].captions == []


def test_the_usual_pipeline_and_dataloader_work(layouts, pairs):
    dataset = dict(
        type='ImageTextDataset',
        format='karpathy',
        ann_file='dataset_flickr30k.json',
        data_root=str(layouts),
        data_prefix=dict(img='images'),
        pipeline=PIPELINE,
    )
    dataloader = Runner.build_dataloader(
        dict(dataset=dataset, batch_size=16, num_workers=1, sampler=dict(type='DefaultSampler', shuffle=True)), seed=0
    )
    batch = next(iter(dataloader))
    for image, sample in zip(batch['inputs'], batch['data_samples']):
        name = sample.img_path.rsplit('/', 1)[1]
        expected = cv2.resize(cv2.imread(str(layouts / 'images' / name)), (64, 64))
        expected = expected[:, ::-1] if sample.flip else expected
        assert torch.equal(image, torch.from_numpy(np.ascontiguousarray(expected)).permute(2, 0, 1))
        assert sample.captions == pairs[name]


@pytest.mark.parametrize(
    'options, error, named',
    [
        (dict(format='voc'), ValueError, "coco, karpathy.*'voc'"),
        (dict(format='coco', ann_file='captions.json', split='train'), ValueError, 'split.*karpathy.*flickr8k'),
        (dict(format='folder', columns=('a', 'b')), ValueError, 'columns.*table'),
        (dict(format='coco'), ValueError, 'ann_file'),
        (dict(format='coco', ann_file='none.json'), FileNotFoundError, 'none.json'),
        (dict(format='folder', data_prefix=dict(img='none')), FileNotFoundError, 'none'),
        (dict(format='folder', max_broken=5), ValueError, 'max_broken'),
        (dict(format='folder', check_images='never'), ValueError, 'check_images'),
    ],
)
def test_refusals(layouts, options, error, named):
    with pytest.raises(error, match=named):
        ImageTextDataset(**{**dict(data_root=str(layouts), data_prefix=dict(img='images')), **options})


def test_empty_captions_are_left_out(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / 'table.csv').write_text('filepath,title\na.png, \na.png, a cat \n')
    dataset = ImageTextDataset(format='table', ann_file='table.csv', data_root=str(tmp_path))
    assert dataset.get_data_info(0)['captions'] == ['a cat']


# ------------------------------------------------------------------------------------------------ broken images
@pytest.fixture
def folder(tmp_path):
    """Twenty images, three of them broken: cut short, text, and one that only decoding finds."""
    (tmp_path / 'images').mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        cv2.imwrite(str(tmp_path / f'images/{number:02}.jpg'), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    cut = tmp_path / 'images/03.jpg'
    cut.write_bytes(cut.read_bytes()[:-300])
    (tmp_path / 'images/04.jpg').write_text('not an image')
    body = tmp_path / 'images/11.png'
    cv2.imwrite(str(body), np.zeros((40, 40, 3), np.uint8))
    content = bytearray(body.read_bytes())
    content[45:50] = b'\x00' * 5  # compressed pixels; header and end are whole
    body.write_bytes(bytes(content))
    (tmp_path / 'images/11.jpg').unlink()
    return tmp_path


def build(folder, **options):
    return ImageTextDataset(
        **{
            **dict(
                format='folder',
                data_root=str(folder),
                data_prefix=dict(img='images'),
                max_broken=0.2,
                pipeline=[dict(type='LoadImageReduced')],
            ),
            **options,
        }
    )


def test_broken_images_are_found_when_read_and_replaced_by_the_next(folder):
    dataset = build(folder)
    assert len(dataset) == 20 and not dataset.broken
    names = [dataset[index]['img_path'][-6:-4] for index in range(20)]
    expected = [f'{number:02}' for number in range(20)]
    expected[3] = expected[4] = '05'
    expected[11] = '12'
    assert names == expected
    assert {path[-6:] for path in dataset.broken} == {'03.jpg', '04.jpg', '11.png'}


def test_tests_leave_broken_images_out_from_the_start(folder):
    (folder / 'images/11.png').unlink()
    dataset = build(folder, test_mode=True)
    assert [dataset[index]['img_path'][-6:-4] for index in range(len(dataset))] == [
        f'{number:02}' for number in range(20) if number not in (3, 4, 11)
    ]


def test_too_many_stop_the_run(folder):
    dataset = build(folder, max_broken=0.1)
    dataset[3], dataset[4]
    with pytest.raises(RuntimeError, match=r'\b3 of 20\b.*11\.png.*\b2\b'):
        dataset[11]


@pytest.mark.parametrize('check', ['start', 'read'])
@pytest.mark.parametrize('loader', ['LoadImageReduced', 'LoadImageFromFile'])
def test_hostile_images_are_skipped_whatever_loads_them(folder, hostile, check, loader):
    where, paths = hostile
    where.rename(folder / 'images' / 'hostile')
    (folder / 'images/11.png').unlink()  # which LoadImageFromFile reads all the same
    dataset = build(folder, check_images=check, max_broken=0.9, pipeline=[dict(type=loader)])
    dataset.list_broken(str(folder / 'broken.tsv'))
    read = {dataset[index]['img_path'] for index in range(len(dataset))}
    assert len(read) == 17 and len(dataset.broken) == 2 + len(paths)
    again = build(folder, max_broken=0.9)
    again.list_broken(str(folder / 'broken.tsv'))
    assert again.broken == dataset.broken


def test_a_hostile_image_of_a_test_is_an_error(folder, hostile):
    where, paths = hostile
    where.rename(folder / 'images' / 'hostile')
    dataset = build(folder, check_images='read', test_mode=True, pipeline=[dict(type='LoadImageFromFile')])
    for index in range(len(dataset)):
        if '/images/hostile/' in dataset.get_data_info(index)['img_path']:
            with pytest.raises(ValueError):
                dataset[index]


class FakeRunner:
    """What the hook sees of a runner."""

    def __init__(self, dataloader, work_dir):
        self.train_dataloader, self.work_dir = dataloader, work_dir


def loader(folder, **options):
    dataset = dict(type='ConcatDataset', datasets=[build(folder, **options)])
    return Runner.build_dataloader(
        dict(
            dataset=dict(type='SeededDataset', seed=0, dataset=dataset),
            batch_size=5,
            num_workers=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        seed=0,
    )


def test_workers_share_one_list_in_the_work_dir(folder):
    for _ in range(2):  # the second run finds the list of the first
        dataloader = loader(folder)
        BrokenImagesHook().before_train(FakeRunner(dataloader, folder))
        assert len(list(dataloader)) == 4
    lines = [line.split('\t') for line in (folder / 'broken_images.tsv').read_text().splitlines()]
    images = str(folder / 'images')
    assert sorted(line[1] for line in lines) == [f'{images}/{name}' for name in ('03.jpg', '04.jpg', '11.png')]
    assert {line[0] for line in lines} == {images} and all(line[2] for line in lines)


def test_the_share_counts_over_all_workers(folder):
    """No worker sees more than two broken images."""
    dataloader = loader(folder, max_broken=0.1)
    BrokenImagesHook().before_train(FakeRunner(dataloader, folder))
    with pytest.raises(RuntimeError, match=r'\b3 of 20\b.*broken_images\.tsv'):
        list(dataloader)


def test_the_list_holds_what_was_found_at_the_start(folder):
    dataset = build(folder, check_images='start')
    assert len(dataset) == 18  # the third is found by decoding alone
    dataset.list_broken(str(folder / 'list.tsv'))
    dataset.list_broken(str(folder / 'list.tsv'))
    assert len((folder / 'list.tsv').read_text().splitlines()) == 2


def test_retrieval_of_real_captions(layouts, pairs, tiny_teacher):
    """A dual encoder and RetrievalMetric work on the data set as it is."""
    from mmyolo.registry import METRICS

    dataset = ImageTextDataset(
        format='coco',
        ann_file='captions.json',
        data_root=str(layouts),
        test_mode=True,
        data_prefix=dict(img='images'),
        pipeline=PIPELINE,
        indices=12,
    )
    metric = METRICS.build(
        dict(
            type='RetrievalMetric',
            text_encoder=dict(type='OpenCLIPTextEncoder', model_name='kdeov-shapes', pretrained=tiny_teacher),
        )
    )
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        texts = metric.embed(sample.captions)
        sample.image_embedding = texts.mean(0)  # an image that lies amid its own captions
        metric.process(None, [sample.to_dict()])
    values = metric.evaluate(len(dataset))
    assert values['retrieval/t2i/R@1'] > 5 * values['chance/retrieval/t2i/R@1']
