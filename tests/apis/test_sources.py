"""What may be given as images."""

import math
import os

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from kdeov_mm.apis import InputImage, open_images
from kdeov_mm.utils import InputError

pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)


def names(images, **options):
    found, number = open_images(images, **options)
    found = [image.name for image in found]
    assert number in (None, len(found))
    return found


def read(images, **options):
    return [image.read() for image in open_images(images, **options)[0]]


def test_files_folders_and_globs(photos):
    everything = ['photos/a.jpg', 'photos/b.png', 'photos/turned.jpg']
    assert names('photos') == names(photos.relative_to(photos.parent)) == everything
    assert names('photos/*.jpg') == ['photos/a.jpg', 'photos/turned.jpg']
    assert names(['photos/b.png', 'photos/*.jpg']) == ['photos/b.png', 'photos/a.jpg', 'photos/turned.jpg']
    assert names('**/b.*') == ['photos/b.png']


def test_a_name_that_looks_like_a_glob_is_a_file(photos):
    (photos / 'a.jpg').rename(photos / 'a[1].jpg')
    assert names('photos/a[1].jpg') == ['photos/a[1].jpg']


def test_files_are_read_as_one_sees_them(photos):
    for image in open_images('photos')[0]:
        with Image.open(image.path) as expected:
            expected = np.asarray(ImageOps.exif_transpose(expected).convert('RGB'))
        assert np.abs(image.read().astype(int) - expected).max() <= 4  # of two decoders of JPEG


def test_pixels_in_memory_agree():
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for image in (pixels, Image.fromarray(pixels), tensor, tensor / 255, tensor.double() / 255):
        (found,) = read(image)
        assert found.dtype == np.uint8 and np.array_equal(found, pixels)
    assert np.array_equal(read(pixels[..., ::-1], channel_order='bgr')[0], pixels)
    assert np.array_equal(read(Image.fromarray(pixels), channel_order='bgr')[0], pixels)
    assert np.array_equal(read(pixels[..., 0])[0], pixels[..., :1].repeat(3, 2))
    for batch in (np.stack([pixels, pixels[::-1]]), torch.stack([tensor, tensor.flip(1)])):
        found = read(batch)
        assert len(found) == 2 and np.array_equal(found[1], pixels[::-1])


def test_pixels_are_named_by_number(photos):
    assert names([pixels, 'photos/a.jpg', pixels]) == ['image 0', 'photos/a.jpg', 'image 2']


def test_generators_are_not_read_ahead(photos):
    taken = []

    def images():
        for item in (pixels, 'photos', Image.fromarray(pixels)):
            taken.append(item)
            yield item

    found, number = open_images(images())
    assert number is None and not taken
    next(found)
    assert len(taken) == 1
    assert len(list(found)) == 4


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5, (32, 16))
    for value in (10, 120, 240):
        writer.write(np.full((16, 32, 3), (value, 0, 0), np.uint8))  # blue, in OpenCV's order
    writer.release()
    if not path.is_file() or not path.stat().st_size:
        pytest.skip('this OpenCV writes no videos')
    return path


def test_frames_of_a_video(video):
    found, number = open_images(video)
    found = list(found)
    assert number == 3 and [image.name for image in found] == [f'{video}#{i}' for i in range(3)]
    for image, value in zip(found, (10, 120, 240)):
        assert np.abs(image.read().astype(int) - [0, 0, value]).max() < 12  # RGB


class Camera:
    """Stands for cv2.VideoCapture."""

    opened = []

    def __init__(self, source):
        self.opened.append(self)
        self.source, self.released = source, False

    def isOpened(self):
        return self.source == 3

    def read(self):
        return True, pixels[..., ::-1]

    def release(self):
        self.released = True


def test_a_camera_is_endless_and_released(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    found, number = open_images(3)
    assert number == math.inf
    image = next(found)
    assert image.name == 'camera 3#0' and np.array_equal(image.read(), pixels)
    found.close()
    del found
    assert Camera.opened[-1].released
    with pytest.raises(ValueError, match='camera 0'):
        open_images(0)


@pytest.mark.parametrize(
    'images, error, named',
    [
        ('https://example.org/a.jpg', ValueError, 'https://example.org/a.jpg'),
        ('missing.jpg', FileNotFoundError, 'missing.jpg'),
        ('*.tiff', FileNotFoundError, r'\*\.tiff'),
        (['photos', 'missing'], FileNotFoundError, 'missing'),
        (np.zeros((4, 4, 3)), ValueError, 'float64'),
        (np.zeros((4, 4, 4), np.uint8), ValueError, r'\[4, 4, 4\]'),
        (np.zeros((0, 4, 3), np.uint8), ValueError, r'\[0, 4, 3\]'),
        (torch.zeros(4, 4, 3), ValueError, r'\[4, 4, 3\]'),
        (torch.full((3, 4, 4), 255.0), ValueError, '255'),
        (torch.full((3, 4, 4), torch.nan), ValueError, r'\[0, 1\]'),
        (torch.zeros(3, 4, 4, dtype=torch.long), ValueError, 'int64'),
        (None, TypeError, 'NoneType'),
        (b'bytes', TypeError, 'bytes'),
        (True, TypeError, 'bool'),
    ],
)
def test_what_is_refused_and_how(photos, images, error, named):
    with pytest.raises(error, match=named):
        open_images(images)


def test_unknown_channel_order():
    with pytest.raises(ValueError, match='channel_order'):
        open_images(pixels, 'rbg')


def test_broken_files_are_named(broken, photos):
    for path in (broken, photos / 'notes.txt'):
        with pytest.raises(ValueError, match=path.name):
            InputImage(str(path), str(path)).read()


@pytest.mark.parametrize('kind', ['fifo', 'zero'])
@pytest.mark.parametrize('suffix', ['.jpg', '.mp4'])
def test_a_special_file_given_by_itself_is_refused(hostile, tmp_path, kind, suffix):
    path = tmp_path / f'given{suffix}'
    path.symlink_to(hostile[1][kind])
    with pytest.raises(InputError, match=path.name):
        open_images(path)


def test_a_folder_of_hostile_files_is_read_to_its_end(hostile):
    folder, paths = hostile
    Image.fromarray(pixels).save(folder / 'good.png')
    found = list(open_images(folder)[0])
    assert len(found) == len(paths) + 1
    for image in found:
        image.name.encode()
        if image.path.endswith('good.png'):
            assert np.array_equal(image.read(), pixels)
        else:
            with pytest.raises(ValueError) as refused:
                image.read()
            assert str(refused.value).isprintable()


def test_a_name_that_is_not_utf8_fits_into_json(tmp_path):
    path = str(tmp_path / os.fsdecode(b'\xff.png'))
    Image.fromarray(pixels).save(path)
    (image,) = open_images(path)[0]
    assert image.path == path and image.name.endswith('\\udcff.png') and np.array_equal(image.read(), pixels)


def test_a_video_whose_name_is_not_utf8(video):
    path = video.with_name(os.fsdecode(b'clip\xff.avi'))
    video.rename(path)
    found, number = open_images(str(path))
    assert number == 3 and [image.name[-11:] for image in found] == [f'udcff.avi#{i}' for i in range(3)]


def test_pixels_of_32_bits_are_refused_in_memory_too():
    for kind in (np.int32, np.float32):
        with pytest.raises(ValueError):
            open_images(Image.fromarray(np.full((4, 4), 70_000, kind)))
    deep = Image.fromarray(np.full((4, 4), 0xAB12, np.uint16))
    assert (read(deep)[0] == 0xAB).all()


def test_images_that_nothing_here_decodes_are_counted_once(photos, monkeypatch):
    monkeypatch.setattr('kdeov_mm.utils.image_files.UNREAD_SUFFIXES', ('.heic',))
    for name in ('a.heic', 'b.HEIC'):
        (photos / name).write_bytes(b'\0\0\0\x18ftypheic' + bytes(20))
    with pytest.warns(UserWarning, match=r'2 .heic.*kdeov_mm\[heif\]') as told:
        assert len(names('photos')) == 3
    assert len(told) == 1
    with pytest.raises(ValueError, match=r'kdeov_mm\[heif\]'):
        InputImage('a', str(photos / 'a.heic')).read()
