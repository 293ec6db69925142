"""The page finds in the browser what the runtime finds, tells what it cannot do, and asks nobody else."""

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdeov_mm.apis import build_vocabulary
from kdeov_mm.benchmarks.agreement import unmatched
from kdeov_mm.deploy import Runtime, read_image, web
from kdeov_mm.deploy.web import ONNXRUNTIME, PACKAGE, VERSION, download, npm_package, read_package, write_web
from kdeov_mm.text import read_class_names
from kdeov_mm.utils import InputError, find_model, load_config
from tool_loading import load_tool

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'web'
NAMES = ['red circle', 'dog', 'a very small cup', 'person', 'striped blue star', 'bus', 'cat']
both_resizes = pytest.mark.parametrize('detector', ['stretch', 'letterbox'], indirect=True, scope='module')
SIZES = [(64, 48), (333, 517), (128, 128), (1000, 301), (40, 50), (3, 500)]


@pytest.fixture(scope='module')
def onnxruntime_web(tmp_path_factory):
    """The unpacked npm package, of KDEOV_ONNXRUNTIME_WEB or the registry; what is not the package fails."""
    try:
        source = os.environ.get('KDEOV_ONNXRUNTIME_WEB') or download(tmp_path_factory.mktemp('npm'))
    except (FileNotFoundError, ValueError) as error:
        pytest.skip(str(error))
    with npm_package(Path(source)) as folder:
        yield folder


@pytest.fixture(scope='module')
def texts():
    vectors = np.random.default_rng(3).normal(size=(len(NAMES), 128)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope='module')
def detector(exported, request, tmp_path_factory):
    """The random student, with images brought to another size; the parameter is how."""
    onnx = pytest.importorskip('onnx')
    model = onnx.load(exported['open_detector'])
    how = dict(size=[96, 128], resize=getattr(request, 'param', 'letterbox'), pad_value=114)
    for entry in model.metadata_props:
        if entry.key == 'preprocessing':
            entry.value = json.dumps(how)
    path = tmp_path_factory.mktemp('detector') / 'open_detector.onnx'
    onnx.save(model, path)
    return path


@pytest.fixture(scope='module')
def site(detector, texts, onnxruntime_web, tmp_path_factory):
    return write_web(
        tmp_path_factory.mktemp('site') / 'web', PAGE, detector, NAMES, texts, onnxruntime_web, ['dog', 'red circle']
    )


@pytest.fixture
def page(site, browser, serve, wait_for):
    """The opened page with the model loaded; a function that waits for a word in its status line."""
    browser.get(serve(site))

    def status(word):
        wait_for(lambda: word in browser.find_element('id', 'status').text, f'no {word!r} in the status line')
        return browser.find_element('id', 'status').text

    status('Ready')
    return status


def noise(width, height):
    """Coarse and fine structure."""
    rng = np.random.default_rng(width)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8)).resize((width, height))
    return Image.fromarray((np.asarray(coarse) * 0.8 + rng.integers(0, 51, (height, width, 3))).astype(np.uint8))


def pick(browser, path, names=None):
    if names is not None:
        field = browser.find_element('id', 'names')
        field.clear()
        field.send_keys(names)
    browser.find_element('id', 'file').send_keys(str(path))


def shown(browser):
    """The detections in the page's table."""
    rows = browser.execute_script("return [...document.querySelectorAll('#found tbody tr')].map(r => r.dataset.found)")
    return [json.loads(row) for row in rows]


def as_arrays(found, names):
    return dict(
        boxes=np.array([item['box'] for item in found]).reshape(-1, 4),
        scores=np.array([item['score'] for item in found]),
        labels=np.array([names.index(item['name']) for item in found], dtype=int),
    )


@both_resizes
def test_the_same_pixels_go_in(site, detector, page, browser):
    runtime = Runtime(detector)
    script = """
        const [url, how, done] = arguments;
        const [{ readImage }, { place }] = await Promise.all([import('/app.js'), import('/preprocess.js')]);
        const image = await readImage(await (await fetch(url)).blob());
        const { input, scale, shift } = place(image, how);
        let bytes = '';
        for (const byte of new Uint8Array(input.buffer)) bytes += String.fromCharCode(byte);
        done({ input: btoa(bytes), scale, shift });"""
    for size in SIZES:
        noise(*size).save(site / 'probe.png')
        found = browser.execute_async_script(
            f'(async () => {{{script}}}).apply(null, arguments)', f'/probe.png?{size}', runtime.preprocessing
        )
        expected, scale, shift = runtime.place(read_image(site / 'probe.png'))
        pixels = np.frombuffer(base64.b64decode(found['input']), np.float32).reshape(expected.shape)
        np.testing.assert_array_equal(pixels, expected, err_msg=str(size))
        np.testing.assert_allclose(found['scale'] + found['shift'], [*scale, *shift], rtol=1e-6)


@both_resizes
def test_the_same_boxes_come_out(detector, texts, page, browser, tmp_path, tiny_world):
    runtime, rows = Runtime(detector), [5, 2, 0]
    names = [NAMES[row] for row in rows]
    noise(333, 250).save(tmp_path / 'noise.png')
    noise(90, 160).save(tmp_path / 'noise.webp', lossless=True)
    jpeg = sorted((tiny_world / 'test').glob('*.jpg'))[0]
    for path in (tmp_path / 'noise.png', tmp_path / 'noise.webp', jpeg):
        browser.execute_script("document.getElementById('status').textContent = ''")
        pick(browser, path, 'bus, A very_small  cup\nred circle\nbus')
        image = read_image(path)
        (expected,) = runtime.detect([image], names, texts[rows], score_threshold=0.3)
        text = page('found in')
        assert f'{len(expected.scores)} found in {image.shape[1]} × {image.shape[0]} pixels' in text and ' ms ' in text
        assert len(expected.scores) > 3
        assert unmatched(as_arrays(shown(browser), names), vars(expected)) == 0


def test_a_detector_with_names_of_its_own(exported, onnxruntime_web, browser, serve, wait_for, tmp_path):
    """Each object gets one of all of its names; those that were asked for are shown."""
    site = write_web(tmp_path / 'web', PAGE, exported['detector'], None, None, onnxruntime_web)
    noise(333, 250).save(tmp_path / 'noise.png')
    (expected,) = Runtime(exported['detector']).detect([read_image(tmp_path / 'noise.png')], score_threshold=0.3)
    asked = sorted(set(expected.names))[:2]
    kept = [NAMES[label] in asked for label in expected.labels]
    assert 0 < sum(kept) < len(kept)
    browser.get(serve(site))
    wait_for(lambda: 'Ready' in browser.find_element('id', 'status').text, 'not ready')
    assert 'all names that this page knows' in browser.find_element('id', 'competition').text
    pick(browser, tmp_path / 'noise.png', '\n'.join(asked))
    wait_for(lambda: f'{sum(kept)} found in' in browser.find_element('id', 'status').text, 'not found')
    assert (
        unmatched(
            as_arrays(shown(browser), NAMES),
            dict(boxes=expected.boxes[kept], scores=expected.scores[kept], labels=expected.labels[kept]),
        )
        == 0
    )


def test_unknown_names_are_told_and_left_out(page, browser, tmp_path):
    noise(60, 60).save(tmp_path / 'a.png')
    pick(browser, tmp_path / 'a.png', 'zebra\ndogs\ncat')
    page('found in')
    told = browser.find_element('id', 'unknown').text
    assert all(f'“{name}”' in told for name in ('zebra', 'dogs', 'dog'))
    assert {item['name'] for item in shown(browser)} == {'cat'}
    browser.find_element('id', 'names').clear()
    browser.find_element('id', 'detect').click()
    page('Give at least one name')


def test_least_score(page, browser, tmp_path):
    noise(60, 60).save(tmp_path / 'a.png')
    pick(browser, tmp_path / 'a.png', 'cat\ndog')
    page('found in')
    scores = sorted(item['score'] for item in shown(browser))
    middle = round(scores[len(scores) // 2], 2)
    browser.execute_script(
        """
        const slider = document.getElementById('threshold');
        slider.value = arguments[0];
        slider.dispatchEvent(new Event('input'));
        slider.dispatchEvent(new Event('change'));""",
        middle,
    )
    expected = [score for score in scores if score >= middle]
    page(f'{len(expected)} found in')
    assert sorted(item['score'] for item in shown(browser)) == expected and len(expected) < len(scores)


def test_the_camera(page, browser):
    browser.find_element('id', 'camera').click()
    capture = browser.find_element('id', 'capture')
    page('Ready')
    browser.execute_async_script("""
        const done = arguments[0];
        const wait = () => document.getElementById('capture').disabled ? setTimeout(wait, 50) : done();
        wait();""")
    capture.click()
    assert '640 × 480 pixels' in page('480 pixels')
    browser.find_element('id', 'camera').click()
    assert not capture.is_enabled()


def test_a_broken_file_is_told(page, browser, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    pick(browser, tmp_path / 'broken.jpg')
    page('broken.jpg is not an image')


def test_nobody_else_is_asked(site, browser, serve, wait_for, requested):
    url = serve(site)
    browser.get(url)
    wait_for(lambda: 'Ready' in browser.find_element('id', 'status').text, 'not ready')
    urls = [entry for entry in requested() if entry.startswith('http')]
    assert len(urls) >= 8 and all(entry.startswith(url) for entry in urls)
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []


@pytest.mark.slow
def test_the_demo(
    demo_student, demo_world, export_all, onnxruntime_web, browser, serve, wait_for, screenshot, tmp_path
):
    export_all(demo_student, tmp_path)
    world, names = demo_world('test'), ['solid blue triangle', 'dotted blue triangle', 'solid red semicircle']
    vocabulary = read_class_names(str(world / 'annotations' / 'instances_test.json'))
    texts = build_vocabulary(load_config(find_model('kdeov_yolov8n').config), vocabulary).embeddings.numpy()
    site = write_web(tmp_path / 'web', PAGE, tmp_path / 'open_detector.onnx', vocabulary, texts, onnxruntime_web, names)
    path = world / 'test' / '000000000659.jpg'
    browser.get(serve(site))
    pick(browser, path, '\n'.join([*names, 'red zebra']))
    wait_for(lambda: 'found in' in browser.find_element('id', 'status').text, 'nothing found')
    rows = texts[[vocabulary.index(name) for name in names]]
    (expected,) = Runtime(tmp_path / 'open_detector.onnx').detect([read_image(path)], names, rows, score_threshold=0.3)
    assert set(expected.names) == set(names)
    assert unmatched(as_arrays(shown(browser), names), vars(expected)) == 0
    screenshot('web_page')


def package(folder, version=VERSION):
    """What write_web takes of the npm package, without its content."""
    (folder / 'dist').mkdir(parents=True)
    (folder / 'package.json').write_text(json.dumps(dict(name=PACKAGE, version=version)))
    for name in ONNXRUNTIME:
        (folder / 'dist' / name).write_text('')
    return folder


@pytest.fixture
def empty_is_genuine(monkeypatch):
    """Let :func:`package` pass for the published one."""
    monkeypatch.setattr(web, 'ONNXRUNTIME', dict.fromkeys(ONNXRUNTIME, hashlib.sha256().hexdigest()))


def test_what_is_refused(exported, texts, tmp_path, empty_is_genuine):
    good = package(tmp_path / 'good')

    def write(**changes):
        return write_web(
            **dict(
                dict(
                    out_dir=tmp_path / 'web',
                    page=PAGE,
                    detector=exported['open_detector'],
                    names=NAMES,
                    class_embeddings=texts,
                    onnxruntime=good,
                ),
                **changes,
            )
        )

    with pytest.raises(ValueError, match=rf'1\.2\.3.*{re.escape(VERSION)}'):
        write(onnxruntime=package(tmp_path / 'old', '1.2.3'))
    with pytest.raises(FileNotFoundError, match='npm install --ignore-scripts onnxruntime-web@'):
        write(onnxruntime=tmp_path)
    with pytest.raises(ValueError, match="examples.*'zebra'"):
        write(examples=['zebra'])
    with pytest.raises(ValueError, match='open_detector'):
        write(detector=exported['detector'])
    with pytest.raises(ValueError, match=r'\[7, 128\].*\[6, 128\]'):
        write(class_embeddings=texts[1:])
    assert not (tmp_path / 'web').exists()
    (good / 'dist' / 'ort.wasm.min.mjs').unlink()
    with pytest.raises(FileNotFoundError, match='ort.wasm.min.mjs'):
        write()


def test_one_kind_of_detector_takes_the_place_of_the_other(exported, texts, tmp_path, empty_is_genuine):
    for names, rows in ((NAMES, texts), (None, None)):
        kind = 'open_detector' if names else 'detector'
        web = write_web(tmp_path / 'web', PAGE, exported[kind], names, rows, package(tmp_path / kind), ['dog'])
        files = {path.name for path in (web / 'model').iterdir()}
        assert files == {'model.json', f'{kind}.onnx', *(['texts.bin', 'competes.bin'] if names else [])}
        about = json.loads((web / 'model' / 'model.json').read_text())
        assert (about['kind'], about['names'], about['examples']) == (kind, NAMES, ['dog'])


def test_the_tool(exported, tmp_path, capsys, empty_is_genuine):
    tool = load_tool('make_web')
    options = [f'--{PACKAGE}', str(package(tmp_path / 'package'))]
    folder = exported['detector'].parent
    tool.main([str(folder), str(tmp_path / 'closed'), *options])
    assert (tmp_path / 'closed' / 'model' / 'detector.onnx').is_file() and 'http.server' in capsys.readouterr().out
    (tmp_path / 'names.txt').write_text('cat\ndog')
    np.save(tmp_path / 'texts.npy', np.eye(2, 128, dtype=np.float32))
    given = ['--embeddings', str(tmp_path / 'texts.npy')]
    tool.main([str(folder), str(tmp_path / 'open'), *options, '--vocabulary', str(tmp_path / 'names.txt'), *given])
    assert (tmp_path / 'open' / 'model' / 'texts.bin').stat().st_size == 2 * 128 * 4
    with pytest.raises(SystemExit):
        tool.main([str(folder), str(tmp_path / 'open'), *options, *given])
    assert '--vocabulary' in capsys.readouterr().err


def test_package_from_an_archive(tmp_path, monkeypatch):
    package(tmp_path / 'all' / 'package')
    archive = Path(shutil.make_archive(tmp_path / 'a', 'gztar', tmp_path / 'all'))
    monkeypatch.setattr(web, 'ARCHIVE_SHA512', hashlib.sha512(archive.read_bytes()).hexdigest())
    with npm_package(archive) as folder:
        assert json.loads((folder / 'package.json').read_text())['version'] == VERSION
    (tmp_path / 'no.tgz').write_text('no archive')
    with pytest.raises(InputError, match='no.tgz'), npm_package(tmp_path / 'no.tgz'):
        pass
    with pytest.raises(FileNotFoundError, match='missing.tgz'), npm_package(tmp_path / 'missing.tgz'):
        pass


def test_a_changed_archive_is_not_unpacked(tmp_path, monkeypatch):
    """The registry's answer is checked, too: here npm brings another archive under the right name and version."""
    package(tmp_path / 'all' / 'package')
    archive = shutil.make_archive(tmp_path / 'a', 'gztar', tmp_path / 'all')
    (tmp_path / 'bin').mkdir()
    npm = tmp_path / 'bin' / 'npm'
    npm.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/asked\ncp {archive} {PACKAGE}-{VERSION}.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv('PATH', str(npm.parent), prepend=os.pathsep)
    monkeypatch.setattr(web.tarfile, 'open', lambda *args, **options: pytest.fail('it is unpacked'))
    with pytest.raises(InputError, match='SHA512'), npm_package():
        pass
    assert '--ignore-scripts' in (tmp_path / 'asked').read_text().split()
    with pytest.raises(InputError, match='SHA512'), npm_package(Path(archive)):
        pass
    os.mkfifo(tmp_path / 'fifo.tgz')
    with pytest.raises(InputError, match='FIFO'), npm_package(tmp_path / 'fifo.tgz'):
        pass


@pytest.mark.parametrize('changed', ONNXRUNTIME)
def test_a_changed_file_in_a_folder_is_refused(tmp_path, monkeypatch, changed):
    folder = package(tmp_path / 'package')
    empty = hashlib.sha256().hexdigest()
    monkeypatch.setattr(
        web, 'ONNXRUNTIME', {name: ONNXRUNTIME[name] if name == changed else empty for name in ONNXRUNTIME}
    )
    with pytest.raises(InputError, match=changed):
        read_package(folder)


def test_the_published_package_passes(onnxruntime_web):
    assert set(read_package(onnxruntime_web)) == {*ONNXRUNTIME, 'package.json'}
