"""What the tabs show, and what they refuse."""

import io

import numpy as np
import pytest
from PIL import Image

from kdeov_mm.apis import KDEOVInferencer
from kdeov_mm.demo import Demo, Limits
from kdeov_mm.demo.app import table_rows
from kdeov_mm.demo.uploads import read_upload, read_class_names


def test_detect(demo, half_red):
    student, teacher, summary = demo.detect(half_red, 'blue, red', 0.3)
    assert table_rows(student, teacher) == [['red', 0.6, '0, 0, 30, 40', 'red', 1.0]]
    assert table_rows(student, None) == [['red', 0.6, '0, 0, 30, 40']]
    assert summary.startswith('1 detected in 60 x 40 pixels: ') and 'teacher' in summary
    picture = student.draw()
    assert picture.size == (640, 427)
    pixels = np.asarray(picture)
    assert (pixels[100:400, 0] == (0xE6, 0x9F, 0x00)).all()  # the box's left side, in the second name's colour
    assert (pixels[100:400, 350:] == (0, 0, 250)).all()
    student, teacher, summary = demo.detect(half_red, 'blue, red', 0.7)
    assert table_rows(student, teacher) == [] and summary.startswith('0 detected')


def test_without_a_teacher(colours, half_red):
    demo = Demo(KDEOVInferencer(colours))
    assert demo.detect(half_red, 'blue, red', 0.3)[1] is None
    assert demo.classify(half_red, 'blue, red')[1] is None


def test_classify(demo, half_red):
    student, teacher, summary = demo.classify(half_red, 'blue\ngreen\nred')
    cosines = np.array([125, 0, 127.5]) / np.hypot(125, 127.5)
    expected = np.exp(100 * cosines) / np.exp(100 * cosines).sum()
    found = student.to_dict()['names']
    np.testing.assert_allclose([found[name] for name in ('blue', 'green', 'red')], expected, rtol=1e-4)
    assert teacher.to_dict()['names'] == pytest.approx(found) and 'teacher' in summary


def test_search(colours, half_red):
    asked = []
    content = io.BytesIO()
    Image.new('RGB', (8, 6), 'red').save(content, 'JPEG')
    rows = [
        dict(path='/somewhere/secret/a.jpg', score=0.5, thumbnail=content.getvalue()),
        dict(path='/somewhere/secret/b.jpg', score=0.25, thumbnail=b''),
    ]

    class Store:
        def search(self, vector, number):
            asked.append((vector.tolist(), number))
            return rows

        def __len__(self):
            return 7

    demo = Demo(KDEOVInferencer(colours), Store())
    result, summary = demo.search('blue')
    assert asked == [([0, 0, 1], 12)] and summary.startswith('2 of 7 images: ') and result.query == 'blue'
    found = [(match.image.name, match.score) for match in result.matches]
    assert found == [('a.jpg', 0.5), ('b.jpg', 0.25)]  # not where the folder is
    assert result.matches[0].image.read().shape == (6, 8, 3)
    demo.search('', half_red, 3)
    assert asked[1][1] == 3 and asked[1][0][0] == pytest.approx(np.hypot(1, 0) * 127.5 / np.hypot(125, 127.5), abs=1e-3)
    with pytest.raises(ValueError, match='folder'):
        Demo(KDEOVInferencer(colours)).search('blue')
    with pytest.raises(ValueError, match='text'):
        demo.search('  ')


def test_words():
    limits = Limits(names=3, characters=10)
    assert read_class_names(' red circle,dog\n\ndog ,', limits) == ['red circle', 'dog']
    for text, named in (
        ('', 'name'),
        (None, 'name'),
        ('a,b,c,d', r'\b4 class names\b.*\b3\b'),
        ('a' * 11, r'\b11 characters\b.*\b10\b'),
    ):
        with pytest.raises(ValueError, match=named):
            read_class_names(text, limits)


def test_uploads(tmp_path, half_red):
    image = read_upload(half_red, Limits())
    assert image.shape == (40, 60, 3) and image[0, 0].tolist() == [255, 0, 0]
    bomb = tmp_path / 'bomb.png'
    Image.new('1', (30_000, 20_000)).save(bomb)
    script, postscript, cut = tmp_path / 'a.jpg', tmp_path / 'a.png', tmp_path / 'cut.png'
    script.write_text('import os')
    postscript.write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n')
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    noise.save(cut)
    cut.write_bytes(cut.read_bytes()[:3000])
    for path, named in (
        (None, 'image'),
        (str(bomb), '30000 x 20000 pixels.*50 million|image'),
        (str(script), 'image'),
        (str(postscript), 'image'),
        (str(cut), 'image'),
    ):
        with pytest.raises(ValueError, match=named):
            read_upload(path, Limits())
    with pytest.raises(ValueError, match='MiB'):
        read_upload(half_red, Limits(bytes=20))
    with pytest.raises(ValueError, match=r'60 x 40 pixels.*\b0\.002\b'):
        read_upload(half_red, Limits(pixels=2000))
