"""No door for weights runs what is in a file, also where the environment lifts torch's own restriction."""

import io
import json
import multiprocessing
import pickle
import shutil
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import mmengine
import open_clip
import pytest
import torch
from mmengine.model import initialize
from mmengine.runner import load_checkpoint
from mmyolo.registry import MODELS

from make_hostile_files import save_hostile

from kdeov_mm.apis import build_kdeov
from kdeov_mm.models import OpenCLIPTeacher, OpenCLIPTextEncoder
from kdeov_mm.models.clip.towers import build_towers
from kdeov_mm.utils import (
    InputError,
    check_checkpoint,
    check_weights,
    export_weights,
    load_weights,
    pickle_check,
    safe_load,
)

pytestmark = pytest.mark.usefixtures('mmyolo_scope', 'bounded_memory')
CLIP = 'kdeov-shapes'  # the smallest
HUGGING_FACE = dict(
    embed_dim=8,
    vision_cfg=dict(image_size=32, patch_size=16, width=8, layers=1, head_width=4),
    text_cfg=dict(hf_model_name='folder', hf_tokenizer_name='folder'),
)
DOORS = dict(  # each opens bad.pt, or the weights in folder/
    teacher=lambda: OpenCLIPTeacher(CLIP, 'bad.pt'),
    text_encoder=lambda: OpenCLIPTextEncoder(CLIP, 'bad.pt').encode_text(['dog']),
    local_dir=lambda: OpenCLIPTeacher('local-dir:folder'),
    dual_encoder=lambda: MODELS.build(dict(type='OpenCLIPDualEncoder', model_name=CLIP, pretrained='bad.pt')),
    timm=lambda: MODELS.build(dict(type='TimmClassifier', model_name='resnet10t', num_classes=2, pretrained='bad.pt')),
    hugging_face=lambda: build_towers(HUGGING_FACE, pretrained=True),
    checkpoint=lambda: check_checkpoint('bad.pt'),
    resume=lambda: check_checkpoint('bad.pt', resume=True),
    load_from=lambda: load_checkpoint(torch.nn.Linear(1, 1), 'bad.pt'),
    init_cfg=lambda: initialize(torch.nn.Linear(1, 1), dict(type='Pretrained', checkpoint='bad.pt')),
    download=lambda: load_checkpoint(torch.nn.Linear(1, 1), 'http://127.0.0.1/bad.pt'),
    student=lambda: build_kdeov(CLIP, checkpoint='bad.pt'),
    export=lambda: export_weights('bad.pt', 'out.safetensors'),
    library=lambda: safe_load.with_safe_load(lambda: torch.load('bad.pt', weights_only=False, pickle_module=pickle))(),
)


@pytest.fixture
def lifted(monkeypatch):
    """The environment in which torch unpickles everything, unless it is told otherwise."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')


@pytest.fixture(scope='module')
def bert(tiny_hugging_face):
    return tiny_hugging_face('bert', ['a dog'])


@pytest.fixture(params=['zip', 'legacy', 'pickle', 'script'])
def hostile(request, tmp_path, monkeypatch, bert):
    """Write a file and a model's folder of hostile weights to the current folder. A download returns the same file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    monkeypatch.setattr(
        'torch.hub.download_url_to_file', lambda url, place, *args, **kwargs: shutil.copy('bad.pt', place)
    )
    shutil.copytree(bert, 'folder')
    Path('folder', 'model.safetensors').unlink()
    Path('folder', 'open_clip_config.json').write_text(json.dumps(dict(model_cfg=open_clip.get_model_config(CLIP))))
    for name in ('bad.pt', 'folder/pytorch_model.bin'):
        save_hostile(Path(name), request.param)
    return tmp_path


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('door', DOORS)
def test_no_door_executes_what_is_in_a_file(lifted, hostile, door):
    with pytest.raises((ValueError, RuntimeError, OSError, ImportError, pickle.UnpicklingError)) as caught:
        DOORS[door]()
    assert not list(hostile.rglob('RAN'))
    assert caught.type.__name__ != 'URLError'  # the file was opened


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('door', ['teacher', 'local_dir'])
def test_open_clip_that_restricts_nothing(lifted, hostile, door, monkeypatch):
    """Before 2.30, OpenCLIP calls ``torch.load`` without ``weights_only``, and ``torch.jit.load`` for some tags."""

    def load_state_dict(path, *args, **kwargs):
        try:
            return torch.jit.load(path).state_dict()
        except RuntimeError:
            return torch.load(path, map_location='cpu')['state_dict']

    monkeypatch.setattr('open_clip.factory.load_state_dict', load_state_dict)
    with pytest.raises(ValueError):
        DOORS[door]()
    assert not list(hostile.rglob('RAN'))


def test_torch_is_as_before_afterwards(tmp_path):
    before = torch.load, torch.jit.load
    with pytest.raises(KeyError), safe_load.safe_load_patched():
        assert torch.load is safe_load.load
        raise KeyError
    assert (torch.load, torch.jit.load) == before


@pytest.mark.parametrize('suffix', ['pt', 'safetensors'])
def test_good_weights_of_a_teacher(lifted, tmp_path, suffix):
    """Its own file format, and one of a training with its optimizer, give the same embeddings as the shipped ones."""
    from safetensors.torch import save_file

    expected = OpenCLIPTeacher(CLIP, 'shapes')
    weights, path = expected.model.state_dict(), str(tmp_path / f'weights.{suffix}')
    if suffix == 'pt':
        torch.save(dict(state_dict={f'module.{name}': value for name, value in weights.items()}, epoch=3), path)
    else:
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(OpenCLIPTeacher(CLIP, path).encode_image(images), expected.encode_image(images))


# ---- weights that are no numbers ----


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_a_teacher_with_weights_that_are_not_finite_is_refused(tmp_path, value):
    weights = OpenCLIPTeacher(CLIP, 'shapes').model.state_dict()
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], value)
    torch.save(weights, tmp_path / 'bad.pt')
    with pytest.raises(ValueError, match='bad.pt'):
        OpenCLIPTeacher(CLIP, str(tmp_path / 'bad.pt'))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e300])
@pytest.mark.parametrize('name', ['0.weight', '1.running_var', '1.bias'])
def test_a_checkpoint_with_weights_that_are_not_finite_is_refused(tmp_path, value, name):
    """Also where a number is finite in the file, but not in the model's precision."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    weights[name] = weights[name].double()
    weights[name].view(-1)[-1] = value
    path = str(tmp_path / 'bad.pth')
    torch.save(dict(state_dict=weights, meta={}, optimizer={}, message_hub={}), path)
    for open_ in (check_weights, load_weights):
        with pytest.raises(ValueError, match='bad.pth') as caught:
            open_(model, path)
        assert name in str(caught.value)
    if value != 1e300:
        with pytest.raises(ValueError, match=name):
            check_checkpoint(path, resume=True)
        with pytest.raises(ValueError, match=name):
            export_weights(path, str(tmp_path / 'out.safetensors'))
        assert not (tmp_path / 'out.safetensors').exists()


def test_what_a_model_does_not_take_may_be_infinite(tmp_path):
    """Such as the attention mask of another model, when its backbone is taken."""
    model, path = torch.nn.Linear(2, 2), str(tmp_path / 'mask.pth')
    torch.save(dict(model.state_dict(), attn_mask=torch.full((2, 2), -float('inf'))), path)
    assert set(check_weights(model, path)) == {'weight', 'bias', 'attn_mask'}


def test_weights_that_float16_cannot_hold_are_not_exported(tmp_path):
    torch.save(dict(weight=torch.full((2, 2), 1e5)), tmp_path / 'large.pth')
    with pytest.raises(ValueError, match='large.pth'):
        export_weights(str(tmp_path / 'large.pth'), str(tmp_path / 'out.safetensors'))


def write_archive(path, content, change=None, compression=zipfile.ZIP_STORED):
    """What torch.save writes, with another pickle or with compressed entries."""
    saved = io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, 'w', compression) as target:
        for name in source.namelist():
            target.writestr(name, change if change and name.endswith('data.pkl') else source.read(name))


def test_a_config_in_a_checkpoint_is_not_executed(tmp_path, monkeypatch):
    """MMEngine executes it when a training resumes, and when its inferencer has weights only."""
    monkeypatch.chdir(tmp_path)
    payload = "open('executed', 'w').close()"
    hub = dict(runtime_info=dict(cfg=payload, iter=3), log_scalars={})
    meta = dict(config=payload, cfg=payload, epoch=1, iter=3)
    torch.save(dict(meta=meta, message_hub=hub, state_dict={'a': torch.ones(2)}, optimizer={}), 'epoch_1.pth')
    found = check_checkpoint('epoch_1.pth', resume=True)
    assert found['meta'] == dict(epoch=1, iter=3) and found['message_hub']['runtime_info'] == dict(iter=3)
    assert mmengine.runner.checkpoint._load_checkpoint('epoch_1.pth')['meta'] == dict(epoch=1, iter=3)
    assert not Path('executed').exists()


def test_tuples_that_take_for_ever_to_hash_are_refused(tmp_path):
    nested = b')' + b''.join(b'q%ch%c\x86' % (index, index) for index in range(60))  # (t, t) of (t, t) of ...
    write_archive(tmp_path / 'hash.pth', {}, b'\x80\x02}' + nested + b'K\x01s.')
    (tmp_path / 'old.pth').write_bytes(b'\x80\x02}' + nested + b'K\x01s.')
    for name in ('hash.pth', 'old.pth'):
        reading = multiprocessing.get_context('fork').Process(target=refuse, args=(str(tmp_path / name),))
        reading.start()
        reading.join(60)
        exit_code = reading.exitcode
        reading.kill()
        assert exit_code == 0, 'it hangs' if exit_code is None else exit_code


def refuse(path):
    """Check that a checkpoint is refused by name."""
    with pytest.raises(InputError, match=Path(path).name):
        check_checkpoint(path)


def test_compressed_archives_are_refused(tmp_path):
    content = dict(state_dict={'a': torch.zeros(2**20)})
    write_archive(tmp_path / 'bomb.pth', content, compression=zipfile.ZIP_DEFLATED)
    assert (tmp_path / 'bomb.pth').stat().st_size < 20_000
    with pytest.raises(InputError, match='bomb.pth'):
        check_checkpoint(str(tmp_path / 'bomb.pth'))
    write_archive(tmp_path / 'good.pth', content)
    assert check_checkpoint(str(tmp_path / 'good.pth'))['state_dict']['a'].shape == (2**20,)


def test_files_of_every_format_of_torch_are_read(tmp_path):
    weights = {'a': torch.arange(6.0).reshape(2, 3), 'deep': (1, (2, (3, [4])))}
    for number, options in enumerate((dict(), dict(_use_new_zipfile_serialization=False))):
        torch.save(weights, tmp_path / f'{number}.pth', **options)
        for file in (tmp_path / f'{number}.pth', io.BytesIO((tmp_path / f'{number}.pth').read_bytes())):
            found = safe_load.load(file)
            assert found['a'].equal(weights['a']) and found['deep'] == weights['deep']


PAYLOAD = "open('executed', 'w').close()"


def shadowed():
    """A checkpoint whose attribute "get" hides its content."""
    content = OrderedDict(meta=dict(config=PAYLOAD, epoch=1, iter=3), state_dict={'a': torch.ones(2)})
    content.get = Counter
    return content


def test_attributes_do_not_hide_what_a_checkpoint_holds(tmp_path):
    path = tmp_path / 'shadow.pth'
    torch.save(shadowed(), path)
    with pytest.raises(pickle.UnpicklingError):
        safe_load.load(path)
    weights = torch.nn.BatchNorm1d(2).state_dict()
    assert weights._metadata  # versions of the modules, which loading needs
    torch.save(dict(state_dict=weights), path)
    assert safe_load.load(path)['state_dict']._metadata == weights._metadata


@pytest.mark.parametrize('kind', ['upper case', 'zip behind a pickle', 'two pickles', 'one content, many entries'])
def test_what_torch_reads_is_what_is_checked(tmp_path, kind):
    nested = b'\x80\x02}' + b')' + b''.join(b'q%ch%c\x86' % (k, k) for k in range(60)) + b'K\x01s.'
    path, harmless = tmp_path / 'bad.pth', io.BytesIO()
    torch.save({'a': torch.zeros(2)}, harmless)
    if kind == 'zip behind a pickle':
        path.write_bytes(nested + harmless.getvalue())
    else:
        with zipfile.ZipFile(harmless) as source, zipfile.ZipFile(path, 'w') as target:
            for name in source.namelist():
                content = source.read(name)
                if name.endswith('data.pkl'):
                    name = name.upper() if kind == 'upper case' else name
                    content = nested if kind == 'upper case' else content
                target.writestr(name, content)
            if kind == 'two pickles':
                target.writestr('other/data.pkl', content)
            if kind == 'one content, many entries':
                target.filelist += target.filelist[:1] * 50
                target._didModify = True
    with pytest.raises(pickle.UnpicklingError):
        safe_load.check_archive(path)


def test_texts_are_encoded_as_numpy_asks_only(tmp_path):
    (tmp_path / 'bad.pth').write_bytes(b'')
    for codec, refused in (('latin1', False), ('utf-8', False), ('hex', True), ('punycode', True), ('no such', True)):
        text = f'c_codecs\nencode\n(X\x03\0\0\0abcX{chr(len(codec))}\0\0\0{codec}tR.'.encode('latin-1')
        if refused:
            with pytest.raises((pickle.UnpicklingError, LookupError)):
                pickle_check.check_pickle(text)
        else:
            pickle_check.check_pickle(text)


def test_keys_are_short_and_class_names_may_be_many():
    pickle_check.check_pickle(pickle.dumps(dict(classes=tuple(map(str, range(30_000)))), protocol=2))
    with pytest.raises(pickle.UnpicklingError):
        pickle_check.check_pickle(pickle.dumps({tuple(range(200)): 1}, protocol=2))


def test_a_seed_that_cannot_be_printed_is_refused(tmp_path):
    seed = []
    for _ in range(40):
        seed = [seed, seed]
    torch.save(dict(meta=dict(seed=seed), state_dict={}), tmp_path / 'seed.pth')
    with pytest.raises(pickle.UnpicklingError):
        safe_load.load(tmp_path / 'seed.pth')
