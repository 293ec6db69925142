"""Real captioned images, and files and shards in other layouts made from them."""

import csv
import io
import json
import os
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='session')
def real_data():
    """The folder of real data sets, which may be absent."""
    return Path(os.environ.get('KDEOV_REAL_DATA', ROOT.parent / 'shared' / 'data'))


@pytest.fixture(scope='session')
def pairs(coco_mini):
    """``{file name: captions}`` of the training images, read without this package."""
    content = json.loads((coco_mini / 'annotations/captions_train2017.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    captions = defaultdict(list, {name: [] for name in names.values()})
    for record in content['annotations']:
        captions[names[record['image_id']]].append(record['caption'].strip())
    return dict(captions)


@pytest.fixture(scope='session')
def layouts(coco_mini, pairs, tmp_path_factory):
    """A folder with the real training images and their captions in each layout that data sets come in."""
    root = tmp_path_factory.mktemp('layouts')
    (root / 'images').symlink_to(coco_mini / 'train2017')
    (root / 'captions.json').symlink_to(coco_mini / 'annotations/captions_train2017.json')
    splits = ['train', 'val', 'test', 'restval']
    images = [
        dict(filename=name, imgid=number, split=splits[number % 4], sentences=[dict(raw=text) for text in texts])
        for number, (name, texts) in enumerate(pairs.items())
    ]
    (root / 'dataset_flickr30k.json').write_text(json.dumps(dict(images=images, dataset='flickr30k')))
    with open(root / 'captions.txt', 'w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['image', 'caption'])
        writer.writerows((name, text) for name, texts in pairs.items() for text in texts)
    (root / 'Flickr_8k.trainImages.txt').write_text('\n'.join(list(pairs)[:30]) + '\n')
    with open(root / 'cc3m.tsv', 'w', newline='') as file:
        writer = csv.writer(file, delimiter='\t')
        writer.writerow(['title', 'filepath'])
        writer.writerows((texts[0], name) for name, texts in pairs.items())
    return root


@pytest.fixture(scope='session')
def write_shards(pairs, coco_mini):
    """Writes the real images into tar files of given numbers of samples."""
    pytest.importorskip('webdataset')

    def write(folder, sizes, change=lambda name, files: files):
        folder.mkdir(exist_ok=True)
        items = iter(pairs.items())
        for number, size in enumerate(sizes):
            with tarfile.open(folder / f'{number:05}.tar', 'w') as shard:
                for name, texts in (next(items) for _ in range(size)):
                    files = dict(
                        jpg=(coco_mini / 'train2017' / name).read_bytes(),
                        txt=texts[0].encode(),
                        json=json.dumps(dict(captions=texts)).encode(),
                    )
                    for suffix, content in change(name, files).items():
                        info = tarfile.TarInfo(f'{Path(name).stem}.{suffix}')
                        info.size = len(content)
                        shard.addfile(info, io.BytesIO(content))
        return folder

    return write


@pytest.fixture(scope='session')
def caption_roots(pairs, coco_mini, tmp_path_factory):
    """Folders of real images, made small, in the layouts of COCO's captions (Karpathy), Flickr30k and Flickr8k.

    Of the 42 images the first 9 are the test split, the next 9 the validation split.
    """
    folder = tmp_path_factory.mktemp('caption_roots')
    pairs = dict(list(pairs.items())[:42])
    (folder / 'images').mkdir()
    for name in pairs:
        with Image.open(coco_mini / 'train2017' / name) as image:
            image.thumbnail((200, 200))
            image.save(folder / 'images' / name)
    split_of = {
        file: ('test', 'val')[number // 9] if number < 18 else ('train', 'restval')[number % 2]
        for number, file in enumerate(pairs)
    }
    for name, images in (('coco', 'val2014'), ('flickr30k', 'flickr30k-images'), ('flickr8k', 'Images')):
        (folder / name).mkdir()
        (folder / name / images).symlink_to(folder / 'images')
        records = [
            dict(
                filename=file,
                split=split_of[file],
                sentences=[dict(raw=text) for text in texts],
                **dict(filepath=images) if name == 'coco' else {},
            )
            for file, texts in pairs.items()
        ]
        (folder / name / f'dataset_{name}.json').write_text(json.dumps(dict(images=records)))
    with open(folder / 'flickr8k' / 'captions.txt', 'w', newline='') as file:
        csv.writer(file).writerow(('image', 'caption'))
        csv.writer(file).writerows((name, text) for name, texts in pairs.items() for text in texts)
    files = dict(test='testImages', val='devImages', train='trainImages', restval='trainImages')
    for split, file in files.items():
        with open(folder / 'flickr8k' / f'Flickr_8k.{file}.txt', 'a') as names:
            names.writelines(f'{name}\n' for name in pairs if split_of[name] == split)
    return folder
