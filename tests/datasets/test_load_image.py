"""Loading of every kind of image, and JPEG at reduced scale."""

import io

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image, ImageDraw

from kdeov_mm.datasets import LoadImageReduced
from kdeov_mm.datasets.load_image import read_content
from kdeov_mm.utils.image_files import BrokenImageError, image_defect
from kdeov_mm.utils.decode import decode_image
from kdeov_mm.deploy import ImageError, read_image


@pytest.fixture(scope='module')
def photo():
    """A smooth RGB image of 60 x 80 with a corner of its own."""
    red, green = np.meshgrid(np.linspace(30, 220, 80), np.linspace(60, 200, 60))
    image = Image.fromarray(np.dstack([red, green, np.full((60, 80), 90)]).astype(np.uint8))
    ImageDraw.Draw(image).rectangle((0, 0, 19, 9), (200, 30, 40))
    return image


def save(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def with_alpha(image):
    image = image.convert('RGBA')
    image.putalpha(Image.linear_gradient('L').resize(image.size))
    return image


def in_16_bits(image):
    return Image.fromarray(np.asarray(image.convert('L')).astype(np.uint16) * 257)


GREY = ('grey', '16 bit')


@pytest.mark.parametrize(
    'kind, content',
    [
        ('jpeg', lambda image: save(image, format='JPEG', quality=95)),
        ('grey', lambda image: save(image.convert('L'), format='JPEG', quality=95)),
        ('cmyk', lambda image: save(image.convert('CMYK'), format='JPEG', quality=95)),
        ('png', lambda image: save(image, format='PNG')),
        ('alpha', lambda image: save(with_alpha(image), format='PNG')),
        ('grey', lambda image: save(with_alpha(image).convert('LA'), format='PNG')),
        ('16 bit', lambda image: save(in_16_bits(image), format='PNG')),
        ('16 bit', lambda image: save(in_16_bits(image), format='TIFF')),
        ('palette', lambda image: save(image.quantize(256), format='PNG')),
        ('transparent palette', lambda image: save(image.quantize(256), format='PNG', transparency=0)),
        (
            'gif',
            lambda image: save(image, format='GIF', save_all=True, append_images=[Image.new('RGB', image.size)] * 2),
        ),
        (
            'webp',
            lambda image: save(
                image, format='WEBP', save_all=True, quality=95, append_images=[Image.new('RGB', image.size)]
            ),
        ),
        ('bmp', lambda image: save(image, format='BMP')),
    ],
)
def test_every_kind_gives_three_channels_of_the_image(photo, kind, content):
    image, size = decode_image(content(photo))
    expected = np.asarray(photo.convert('L').convert('RGB') if kind in GREY else photo)
    assert image.dtype == np.uint8 and image.shape == (60, 80, 3) and size == (60, 80)
    assert image.flags['C_CONTIGUOUS']
    difference = np.abs(image[..., ::-1].astype(int) - expected)
    assert difference.mean() < 4 and np.percentile(difference, 90) < 12
    wrong = np.abs(image.astype(int) - expected)  # the measure tells the channels apart
    assert kind in GREY or wrong.mean() > 20


def test_bilevel_images(photo):
    image, _ = decode_image(save(photo.convert('1'), format='PNG'))
    assert image.shape == (60, 80, 3) and set(np.unique(image)) == {0, 255}


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('min_size', [0, 16])
@pytest.mark.parametrize('form', ['JPEG', 'PNG'])
def test_exif_rotation_is_applied(photo, orientation, min_size, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, size = decode_image(save(photo, format=form, exif=exif), min_size)
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    expected = photo.transpose(turned[orientation]) if orientation in turned else photo
    assert size == expected.size[::-1]
    small = expected.resize(image.shape[1::-1], Image.Resampling.BOX)
    assert np.abs(image[..., ::-1].astype(int) - np.asarray(small)).mean() < 4


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'GIF89a',
        b'no image at all',
        b'\xff\xd8\xff\xd9',
        save(Image.fromarray(np.zeros((4, 4), np.float32)), format='TIFF'),
    ],
    ids=['empty', 'header', 'text', 'jpeg without pixels', 'float'],
)
def test_what_cannot_be_decoded_is_refused(content):
    with pytest.raises(BrokenImageError):
        decode_image(content)


def test_without_a_size_it_is_mmcvs_loader_on_real_images(coco_mini):
    for path in sorted((coco_mini / 'val2017').iterdir())[:20]:
        found, expected = (
            transform.transform(dict(img_path=str(path))) for transform in (LoadImageReduced(), LoadImageFromFile())
        )
        assert (found['img'] == expected['img']).all()
        assert found['img_shape'] == expected['img_shape'] and found['ori_shape'] == expected['ori_shape']


@pytest.mark.parametrize('min_size, factor', [(0, 1), (400, 1), (224, 1), (213, 2), (106, 4), (60, 4), (53, 8), (1, 8)])
def test_the_scale_is_the_smallest_that_keeps_the_size(min_size, factor):
    content = save(Image.effect_noise((640, 427), 50).convert('RGB'), format='JPEG')
    image, size = decode_image(content, min_size)
    assert image.shape[:2] == (-(-427 // factor), -(-640 // factor)) and size == (427, 640)


def test_reduced_images_are_the_real_ones_in_small(coco_mini):
    for path in sorted((coco_mini / 'val2017').iterdir())[:20]:
        image, _ = decode_image(path.read_bytes(), 112)
        assert 112 <= min(image.shape[:2]) < 224
        full, size = cv2.imread(str(path)), image.shape[1::-1]
        expected = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
        wrong = np.roll(expected, 1, axis=1)
        assert cv2.PSNR(image, expected) > max(24, cv2.PSNR(image, wrong) + 3)


def test_boxes_do_not_fit_a_reduced_image(tmp_path, photo):
    photo.save(tmp_path / 'a.jpg')
    sample = dict(img_path=str(tmp_path / 'a.jpg'), instances=[dict(bbox=[0, 0, 1, 1], bbox_label=0)])
    with pytest.raises(ValueError, match='a.jpg.*min_size=20.*boxes'):
        LoadImageReduced(min_size=20).transform(sample)
    assert LoadImageReduced().transform(sample)['img'].shape == (60, 80, 3)
    with pytest.raises(ValueError, match='min_size'):
        LoadImageReduced(min_size=-1)


def deep(image, kind, scale=257):
    return Image.fromarray((np.asarray(image.convert('L')).astype(np.int64) * scale).astype(kind))


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pgm(image, maximum=65535):
    values = np.asarray(image.convert('L')).astype(np.int64) * maximum // 255
    return b'P5\n%d %d\n%d\n' % (*image.size, maximum) + values.astype('>u2').tobytes()


XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize(
    'make',
    [
        *(
            pytest.param(lambda image, m=mode, f=form: save(image.convert(m), format=f), id=f'{mode}-{form}')
            for form, modes in dict(
                PNG=('1', 'L', 'LA', 'P', 'RGB', 'RGBA'),
                TIFF=('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'RGBX', 'CMYK'),
                JPEG=('L', 'RGB', 'CMYK'),
                BMP=('1', 'L', 'P', 'RGB'),
                WEBP=('RGB', 'RGBA'),
                GIF=('L', 'P'),
                PPM=('1', 'L', 'RGB'),
            ).items()
            for mode in modes
        ),
        *(
            pytest.param(lambda image, o=o, form=form: save(image, format=form, exif=turned(o)), id=f'exif {o}-{form}')
            for form in ('PNG', 'TIFF', 'JPEG', 'WEBP')
            for o in range(1, 9)
        ),
        pytest.param(lambda image: save(image, format='JPEG', xmp=XMP), id='rotation in XMP'),
        pytest.param(lambda image: save(deep(image, np.uint16), format='PNG'), id='16 bit-PNG'),
        pytest.param(lambda image: save(deep(image, np.uint16), format='PNG', exif=turned(6)), id='turned 16 bit-PNG'),
        pytest.param(lambda image: save(deep(image, np.uint16), format='TIFF'), id='16 bit-TIFF'),
        pytest.param(lambda image: save(deep(image, '>u2'), format='TIFF'), id='16 bit big-endian-TIFF'),
        pytest.param(lambda image: save(deep(image, np.uint16), format='TIFF', exif=turned(6)), id='16 bit-TIFF, 6'),
        pytest.param(pgm, id='16 bit-PPM'),
        pytest.param(lambda image: pgm(image, 1023), id='10 bit-PPM'),
        pytest.param(lambda image: save(image.quantize(64), format='PNG', transparency=3), id='transparent palette'),
        pytest.param(
            lambda image: cv2.imencode('.png', np.asarray(image).astype(np.uint16) * 257)[1].tobytes(),
            id='16 bit RGB-PNG',
        ),
        pytest.param(
            lambda image: cv2.imencode('.tif', np.asarray(image).astype(np.uint16) * 257)[1].tobytes(),
            id='16 bit RGB-TIFF',
        ),
    ],
)
def test_training_and_the_runtime_read_the_same_pixels(photo, make):
    content = make(photo)
    trained, size = decode_image(content)
    deployed = read_image(content)
    assert trained.shape == deployed.shape and size == trained.shape[:2]
    tolerance = 3 if content.startswith(b'\xff\xd8') else 0  # of two decoders of JPEG
    np.testing.assert_allclose(trained[..., ::-1], deployed, atol=tolerance)


@pytest.mark.parametrize(
    'content',
    [
        *(
            pytest.param(save(Image.fromarray(np.full((4, 4), 200, kind)), format='TIFF'), id=kind)
            for kind in ('float32', 'int32', 'uint32')
        ),
        pytest.param(b'Pf\n4 4\n-1.0\n' + np.full(16, 200, '<f4').tobytes(), id='PFM'),
        pytest.param(save(Image.new('1', (10_000, 8_001)), format='PNG'), id='80 megapixels'),
        pytest.param(save(Image.new('RGB', (4, 4)), format='EPS'), id='EPS'),
    ],
)
def test_training_and_the_runtime_refuse_the_same(content):
    with pytest.raises(BrokenImageError):
        decode_image(content)
    with pytest.raises(ImageError):
        read_image(content)
    assert image_defect(content)


@pytest.mark.parametrize('suffix, mode', [('jpg', 'RGB'), ('jpg', 'L'), ('png', 'RGB'), ('png', 'L'), ('bmp', 'RGB')])
@pytest.mark.parametrize('orientation', [1, 6])
def test_usual_images_are_as_mmcv_reads_them(suffix, mode, orientation, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation if suffix == 'jpg' else 1
    path = str(tmp_path / f'a.{suffix}')
    photo.convert(mode).save(path, exif=exif)
    assert np.array_equal(decode_image(read_content(path))[0], mmcv.imread(path))
