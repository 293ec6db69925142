"""Readers of caption files: refusals. What they read is compared in test_image_text.py."""

import json
from pathlib import Path

import pytest

from kdeov_mm.datasets.caption_files import read_coco, read_flickr8k, read_folder, read_karpathy, read_table


def karpathy(*splits):
    return json.dumps(
        dict(
            images=[
                dict(filename=f'{number}.jpg', split=split, sentences=[dict(raw=' a b ')])
                for number, split in enumerate(splits)
            ]
        )
    )


@pytest.mark.parametrize(
    'reader, content, message',
    [
        (read_coco, '{"images": []}', '"annotations"'),
        (
            read_coco,
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "caption": "b"}]}',
            'image 2',
        ),
        (read_karpathy, '{"images": [', r'file\.txt'),
        (read_karpathy, '[]', r'file\.txt.*images'),
        (read_karpathy, '{"images": [{"filename": "a"}]}', 'split'),
        (
            read_karpathy,
            '{"images": [{"filename": "a", "split": "train", "sentences": [{}]}]}',
            'raw',
        ),
        (read_table, 'filepath,caption\na,b\n', "columns.*'title'"),
        (read_table, 'filepath,title\na,b\nc\n', r'line 3\b.*\b0\b'),
        (read_table, 'filepath,title\n ,b\n', r'line 2\b.*\b0\b'),
        (read_table, 'filepath,title\na,"b"c\n', r'line 2\b'),
        (read_table, 'filepath,title\na,\udcff\n', 'UTF-8'),
        (read_flickr8k, 'name,caption\na.jpg,b\n', "'image'"),
    ],
)
def test_what_is_not_of_the_format_is_refused(tmp_path, reader, content, message):
    path = tmp_path / 'file.txt'
    path.write_bytes(content.encode(errors='surrogateescape'))
    with pytest.raises(ValueError, match=message):
        reader(str(path))
    with pytest.raises(FileNotFoundError, match='other.txt'):
        reader(str(tmp_path / 'other.txt'))


def test_karpathy_splits_are_known_by_name(tmp_path):
    path = tmp_path / 'dataset_coco.json'
    path.write_text(karpathy('train', 'val', 'restval', 'train'))
    assert list(read_karpathy(str(path), 'train')) == ['0.jpg', '3.jpg']
    assert list(read_karpathy(str(path), ('train', 'restval'))) == ['0.jpg', '2.jpg', '3.jpg']
    assert len(read_karpathy(str(path))) == 4
    with pytest.raises(ValueError, match="'test'.*'train', 'val', 'restval'"):
        read_karpathy(str(path), 'test')
    with pytest.raises(ValueError, match="'trian'.*'train'"):
        read_karpathy(str(path), 'trian')


def test_karpathys_coco_names_the_folder_too(tmp_path):
    content = json.loads(karpathy('val'))
    content['images'][0]['filepath'] = 'val2014'
    (tmp_path / 'dataset_coco.json').write_text(json.dumps(content))
    assert list(read_karpathy(str(tmp_path / 'dataset_coco.json'))) == ['val2014/0.jpg']


def test_a_table_without_a_first_row_of_names(tmp_path):
    """As the original files of CC3M are: caption, image."""
    (tmp_path / 'train.tsv').write_text('a dog\tb/1.jpg\n\nan "odd, cat"\tb/2.jpg\ntwo dogs\tb/1.jpg\n')
    assert read_table(str(tmp_path / 'train.tsv'), (1, 0)) == {
        'b/1.jpg': ['a dog', 'two dogs'],
        'b/2.jpg': ['an "odd, cat"'],
    }
    with pytest.raises(ValueError, match='columns'):
        read_table(str(tmp_path / 'train.tsv'), ('image', 0))


def test_flickr8k_split_files(tmp_path):
    (tmp_path / 'captions.txt').write_text('image,caption\n' + ''.join(f'{n}.jpg,"a, {n}"\n' for n in '1122334'))
    split = tmp_path / 'Flickr_8k.devImages.txt'
    split.write_text('3.jpg\n1.jpg\n\n')
    assert read_flickr8k(str(tmp_path / 'captions.txt'), str(split)) == {
        '3.jpg': ['a, 3', 'a, 3'],
        '1.jpg': ['a, 1', 'a, 1'],
    }
    for text, named in (('5.jpg', "'5.jpg'"), ('1.jpg\n1.jpg', "'1.jpg'")):
        split.write_text(text)
        with pytest.raises(ValueError, match=f'split.*{named}'):
            read_flickr8k(str(tmp_path / 'captions.txt'), str(split))
    with pytest.raises(FileNotFoundError, match='none.txt'):
        read_flickr8k(str(tmp_path / 'captions.txt'), str(tmp_path / 'none.txt'))


def test_folders(tmp_path):
    for name in ('b/2.PNG', 'a.jpg', 'b/1.webp', 'b/notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_folder(str(tmp_path)) == {'a.jpg': [], str(Path('b/1.webp')): [], str(Path('b/2.PNG')): []}
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty'):
        read_folder(str(tmp_path / 'empty'))
