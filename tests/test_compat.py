"""kdeov_mm.compat: each known break of the stack, and the one clear line where it cannot work."""

import importlib
import logging
import os
import pickle
import re
import subprocess
import sys
import textwrap
import types
from importlib import metadata
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils import get_installed_path

from kdeov_mm import compat
from kdeov_mm.utils import safe_load

ROOT = Path(__file__).resolve().parents[1]


def python(code: str, *paths: Path) -> subprocess.CompletedProcess:
    """Run code in a new Python that looks for modules in ``paths`` first."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, (*paths, ROOT))))
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)], capture_output=True, text=True, env=environment
    )


# ---- break 1 and 2: mmcv ----


def test_nms_stand_in_agrees_with_a_loop():
    """Greedy suppression written out in NumPy is the reference."""
    from mmcv.ops import nms

    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 50, (60, 2)), rng.uniform(5, 40, (60, 2))
    boxes, scores = np.hstack([corner, corner + size]).astype(np.float32), rng.permutation(60).astype(np.float32) / 60
    area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    kept, left = [], list(np.argsort(-scores))
    while left:
        best = left.pop(0)
        kept.append(best)
        side = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        both = np.prod(side.clip(0), 1)
        left = [i for i, iou in zip(left, both / (area[best] + area[left] - both)) if iou <= 0.5]
    detections, indices = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)
    assert indices.tolist() == kept
    np.testing.assert_array_equal(detections.numpy(), np.hstack([boxes, scores[:, None]])[kept])


def test_stand_in_is_no_full_mmcv():
    from mmengine.utils.dl_utils import mmcv_full_available

    if sys.modules['mmcv._ext'].__spec__.loader is not None:
        assert mmcv_full_available()
        return
    installed = {distribution.metadata['Name'] for distribution in metadata.distributions()}
    assert mmcv_full_available() == ('onedl-mmengine' in installed)
    with pytest.raises(NotImplementedError, match='deform_conv_forward'):
        mmcv._ext.deform_conv_forward()


def test_real_mmcv_wins():
    """A compiled ``mmcv._ext`` on the path is taken, not the stand-in."""
    code = """
        import importlib.util, sys, types
        import mmcv
        real = types.ModuleType('mmcv._ext')
        class Finder:
            def find_spec(name, path=None, target=None):
                if name == 'mmcv._ext':
                    return importlib.util.spec_from_loader(name, Finder)
            def create_module(spec):
                return real
            def exec_module(module):
                pass
        sys.meta_path.insert(0, Finder)
        spec = importlib.util.spec_from_file_location('compat', COMPAT)  # without the package
        compat = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compat)
        compat.provide_mmcv_ops()
        print(sys.modules['mmcv._ext'] is real)
    """.replace('COMPAT', repr(str(ROOT / 'kdeov_mm' / 'compat.py')))
    assert python(code).stdout.strip() == 'True'


def test_version_of_mmcv_is_left_alone():
    name = next(
        name for name in compat.MMCV_DISTRIBUTIONS if name in {d.metadata['Name'] for d in metadata.distributions()}
    )
    assert mmcv.__version__ == metadata.version(name)


def test_yolov8_builds_and_predicts():
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()
    config = Path(get_installed_path('mmyolo'), '.mim/configs/yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py')
    cfg = Config.fromfile(config)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    from mmdet.structures import DetDataSample

    sample = DetDataSample(
        metainfo=dict(
            img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), pad_param=np.zeros(4, np.float32)
        )
    )
    with torch.no_grad():
        model.bbox_head.head_module.init_weights()
        result = model.predict(torch.rand(1, 3, 64, 64), [sample])[0]
    assert result.pred_instances.bboxes.shape[1:] == (4,)


# ---- break 3: checkpoints ----


class Line(BaseModel):
    """Least squares, small enough to train in a test."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x, mode='tensor'):
        return dict(loss=self.layer(x).square().mean())


class Best(Hook):
    """Leaves NumPy numbers in the message hub, as evaluation hooks do."""

    def after_train_epoch(self, runner):
        runner.message_hub.update_info('best_score', np.float64(0.25))
        runner.message_hub.update_info('counts', np.arange(3))


class Points(BaseDataset):
    def load_data_list(self):
        return [torch.full((2,), float(i)) for i in range(4)]

    def __getitem__(self, i):
        return torch.full((2,), float(i))

    def __len__(self):
        return 4


def make_runner(work_dir: Path, epochs: int, **kwargs) -> Runner:
    torch.manual_seed(0)
    return Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        train_dataloader=dict(
            batch_size=2,
            dataset=Points(),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=lambda batch: dict(x=torch.stack(batch)),
        ),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        param_scheduler=dict(type='LinearLR', start_factor=0.1, end=8),
        randomness=dict(seed=0),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1)
        ),
        custom_hooks=[Best()],
        default_scope='mmengine',
        experiment_name=f'{work_dir.name}_{epochs}_{len(kwargs)}',
        log_level='ERROR',
        **kwargs,
    )


def test_checkpoint_of_a_run_resumes(tmp_path):
    """Log history, NumPy scalars and arrays come back, and the weights are those of an uninterrupted run."""
    whole = make_runner(tmp_path / 'whole', 4)
    whole.train()
    make_runner(tmp_path / 'cut', 2).train()
    resumed = make_runner(tmp_path / 'cut', 4, resume=True)
    resumed.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    history = CheckpointLoader.load_checkpoint(str(tmp_path / 'cut/epoch_4.pth'))['message_hub']
    losses = history['log_scalars']['train/loss']
    assert len(losses.data[0]) == 8 and losses.statistics('mean') == pytest.approx(np.mean(losses.data[0]))
    assert history['runtime_info']['best_score'] == 0.25
    init_default_scope('mmyolo')


class Reduce:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    'bad',
    [
        Reduce(os.system, 'touch {marker}'),
        Reduce(eval, "open('{marker}', 'w')"),
        Reduce(getattr, dict, 'update'),
        Reduce(getattr, np.ndarray, 'tofile'),
        Reduce(exec, "open('{marker}', 'w')"),
    ],
    ids=['system', 'eval', 'getattr-dict', 'getattr-array', 'exec'],
)
@pytest.mark.parametrize('loader', ['torch', 'safe'])
def test_malicious_checkpoint_is_refused(tmp_path, bad, loader):
    marker, file = tmp_path / 'ran', tmp_path / 'bad.pth'
    function, args = bad.reduced
    args = tuple(a.format(marker=marker) if isinstance(a, str) else a for a in args)
    torch.save(dict(state_dict=dict(x=torch.zeros(1)), meta=Reduce(function, *args)), file)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        load(loader, file)
    assert not marker.exists()


@pytest.mark.parametrize('loader', ['torch', 'safe'])
@pytest.mark.parametrize('name', ['__init__', '__globals__', '__class__', '_set_default_statistics', 'absent'])
def test_getattr_reaches_public_methods_only(tmp_path, loader, name):
    file = tmp_path / 'getattr.pth'
    torch.save(dict(x=Reduce(getattr, HistoryBuffer, name)), file)
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match=name):
        load(loader, file)
    torch.save(dict(x=Reduce(getattr, HistoryBuffer, 'mean')), file)
    assert load(loader, file)['x'] is HistoryBuffer.mean


def load(loader: str, file: Path):
    """Load as MMEngine does on this torch, or as on a torch before 2.6."""
    if loader == 'torch':
        return CheckpointLoader.load_checkpoint(str(file), map_location='cpu')
    allowed = safe_load.checkpoint_globals()
    allowed.update(torch._weights_only_unpickler._get_allowed_globals())
    return torch.load(file, map_location='cpu', weights_only=False, pickle_module=safe_load.make_safe_pickle(allowed))


def test_restricted_loader_reads_checkpoints(tmp_path):
    make_runner(tmp_path / 'run', 1).train()
    file = tmp_path / 'run/epoch_1.pth'
    one, other = load('torch', file), load('safe', file)
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other['state_dict'][name]) for name, value in one['state_dict'].items())
    np.testing.assert_array_equal(other['message_hub']['runtime_info']['counts'], np.arange(3))
    init_default_scope('mmyolo')


def test_forks_loader_cannot_fall_back(tmp_path, monkeypatch):
    """A loader that tries ``weights_only=False``, as onedl-mmengine's does, still cannot load it."""
    from mmengine.runner import checkpoint

    bad = tmp_path / 'bad.pth'
    torch.save(Reduce(os.system, f'touch {tmp_path / "ran"}'), bad)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        checkpoint.torch.load(str(bad), map_location='cpu', weights_only=False)

    def fall_back(file, map_location=None, weights_only=None):
        return torch.load(file, map_location=map_location, weights_only=False)

    monkeypatch.setattr(checkpoint, '_safe_torch_load', fall_back, raising=False)
    safe_load.secure_mmengine()
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        checkpoint._safe_torch_load(str(bad))
    assert not (tmp_path / 'ran').exists()


# ---- break 4: lvis ----


def test_lvis_evaluates():
    """One image, one class found exactly and one missed: AP is (1 + 0) / 2; NumPy itself is left alone."""
    from lvis import LVIS, LVISEval, LVISResults

    gt = LVIS.__new__(LVIS)
    gt.logger = logging.getLogger('lvis')
    gt.dataset = dict(
        images=[dict(id=1, width=64, height=64, neg_category_ids=[], not_exhaustive_category_ids=[])],
        annotations=[
            dict(
                id=i,
                image_id=1,
                category_id=i,
                bbox=[4.0, 4.0, 20.0, 20.0],
                area=400.0,
                segmentation=[[4.0, 4.0, 24.0, 4.0, 24.0, 24.0, 4.0, 24.0]],
            )
            for i in (1, 2)
        ],
        categories=[
            dict(id=1, name='a', frequency='f', image_count=1),
            dict(id=2, name='b', frequency='r', image_count=1),
        ],
    )
    gt._create_index()
    results = LVISResults(gt, [dict(image_id=1, category_id=1, bbox=[4.0, 4.0, 20.0, 20.0], score=0.9)])
    evaluation = LVISEval(gt, results, 'bbox')
    evaluation.run()
    scores = evaluation.get_results()
    assert (
        scores['AP'] == pytest.approx(0.5) and scores['APf'] == pytest.approx(1) and scores['APr'] == pytest.approx(0)
    )
    assert not hasattr(np, 'float') or np.__version__ < '1.24'


# ---- break 5: albumentations ----


def test_albu_is_skipped_with_a_warning():
    from mmdet.registry import TRANSFORMS

    if importlib.util.find_spec('albumentations'):
        pytest.skip('albumentations is installed: mmdet.Albu is the real one')
    config = Path(get_installed_path('mmyolo'), '.mim/configs/yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py')
    albu = next(t for t in Config.fromfile(config).train_pipeline if t['type'] == 'mmdet.Albu')
    with pytest.warns(UserWarning, match=r'mmdet\.Albu\b.*Blur, .*pip install albumentations'):
        transform = TRANSFORMS.build(albu)
    results = dict(img=np.zeros((4, 4, 3), np.uint8))
    assert transform(results) is results


# ---- the stack cannot work ----


def test_torchvision_of_another_build(tmp_path):
    """What a torchvision of another build raises at import becomes one line with the repair."""
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision/__init__.py').write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    done = python('import kdeov_mm, mmengine', tmp_path)
    last = done.stderr.strip().splitlines()[-1]
    assert 'operator torchvision::nms does not exist' in last and 'pip install' in last
    assert 'RuntimeError' not in done.stderr


@pytest.mark.parametrize(
    'call, named',
    [
        (compat.check_torch, r'torch 2\.0\.1'),
        (compat.check_packages, 'open_clip_torch.*pip install open_clip_torch'),
        (compat.check_mmcv, r'mmcv 2\.2\.0'),
    ],
)
def test_one_clear_line(monkeypatch, call, named):
    monkeypatch.setattr(torch, '__version__', '2.0.1')
    monkeypatch.setattr(mmcv, '__version__', '2.2.0')
    monkeypatch.setattr(metadata, 'version', versions(mmcv='2.2.0'))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: None if name == 'open_clip' else find(name, *a))
    with pytest.raises(compat.StackError) as error:
        call()
    assert re.search(named, str(error.value)) and '\n' not in str(error.value)


def versions(**installed):

    def version(name):
        if name.replace('-', '_') not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name.replace('-', '_')]

    return version


@pytest.mark.parametrize('version, works', [('2.0.0', False), ('2.0.1', True), ('2.1.0', True), ('2.2.0', False)])
def test_versions_of_mmcv(monkeypatch, version, works):
    monkeypatch.setattr(mmcv, '__version__', version)
    monkeypatch.setattr(metadata, 'version', versions(mmcv=version))
    if works:
        compat.check_mmcv()
    else:
        with pytest.raises(compat.StackError, match=version):
            compat.check_mmcv()


def test_fork_and_mixed_mmcv(monkeypatch):
    monkeypatch.setattr(mmcv, '__version__', '2.3.6')
    monkeypatch.setattr(metadata, 'version', versions(onedl_mmcv='2.3.6'))
    compat.check_mmcv()
    monkeypatch.setattr(metadata, 'version', versions(mmcv='2.0.1', mmcv_lite='2.1.0'))
    with pytest.raises(compat.StackError, match=r'mmcv 2\.0\.1 .*mmcv-lite 2\.1\.0'):
        compat.check_mmcv()


def test_opencv_without_desktop_libraries(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(compat.StackError, match='pip install .*opencv-python-headless'):
        compat.check_opencv()


def test_mmcv_compiled_for_another_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, *a: types.SimpleNamespace())

    def undefined(name):
        raise ImportError('undefined symbol: _ZN3c10')

    monkeypatch.setattr(importlib, 'import_module', undefined)
    with pytest.raises(compat.StackError, match='pip uninstall mmcv'):
        compat.provide_mmcv_ops()


def test_a_failed_import_before_leaves_no_trace():
    """MMDetection and MMYOLO imported first may fail; ``import kdeov_mm`` still makes them work.

    MMDetection then makes torch warn of meshgrid, which the user cannot change: that warning alone is not shown.
    """
    code = """
        for name in ('mmdet.models', 'mmyolo.models'):
            try:
                __import__(name)
            except (ImportError, AssertionError):
                pass
        import kdeov_mm
        import mmdet.models, mmyolo.models
        import torch, warnings
        torch.meshgrid(torch.arange(2), torch.arange(3))
        warnings.warn('others')
    """
    done = subprocess.run([sys.executable, '-c', textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'meshgrid' not in done.stderr and 'UserWarning: others' in done.stderr
