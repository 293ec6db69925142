"""Backbone and neck from trained YOLOs: against MMYOLO's own models, and Ultralytics' architecture written out here."""

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import nn

from kdeov_mm.models.yolo_weights import rename_ultralytics
from kdeov_mm.utils import InputError
from mmyolo.registry import MODELS


class Conv(nn.Module):
    def __init__(self, c_in, c_out, k=1, s=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, s, k // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x):
        return nn.functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c, first, add):
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, first), Conv(c, c, 3), add

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


class C2f(nn.Module):
    def __init__(self, c_in, c_out, n, add):
        super().__init__()
        c = c_out // 2
        self.cv1, self.cv2 = Conv(c_in, 2 * c), Conv((2 + n) * c, c_out)
        self.m = nn.ModuleList(Bottleneck(c, 3, add) for _ in range(n))

    def forward(self, x):
        y = list(self.cv1(x).chunk(2, 1))
        for m in self.m:
            y.append(m(y[-1]))
        return self.cv2(torch.cat(y, 1))


class C3(nn.Module):
    def __init__(self, c_in, c_out, n, add):
        super().__init__()
        c = c_out // 2
        self.cv1, self.cv2, self.cv3 = Conv(c_in, c), Conv(c_in, c), Conv(2 * c, c_out)
        self.m = nn.Sequential(*[Bottleneck(c, 1, add) for _ in range(n)])

    def forward(self, x):
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class SPPF(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c // 2), Conv(2 * c, c)

    def forward(self, x):
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(nn.functional.max_pool2d(y[-1], 5, 1, 2))
        return self.cv2(torch.cat(y, 1))


class Ultralytics(nn.Module):
    """YOLOv8n or YOLOv5s without its head, layer by layer as in Ultralytics' YAML files."""

    def __init__(self, kind):
        super().__init__()
        v8 = kind == 'yolov8n'
        block, w = (C2f, (16, 32, 64, 128, 256)) if v8 else (C3, (32, 64, 128, 256, 512))
        stem = Conv(3, w[0], 3, 2) if v8 else Conv(3, w[0], 6, 2)
        if not v8:
            stem.conv.padding = (2, 2)
        depths = (1, 2, 2, 1) if v8 else (1, 2, 3, 1)
        layers = [stem]
        for i, depth in enumerate(depths):
            layers += [Conv(w[i], w[i + 1], 3, 2), block(w[i + 1], w[i + 1], depth, True)]
        layers.append(SPPF(w[4]))
        self.v8, none = v8, nn.Identity
        if v8:
            layers += [none(), none(), block(w[4] + w[3], w[3], 1, False)]
            layers += [none(), none(), block(w[3] + w[2], w[2], 1, False)]
            layers += [Conv(w[2], w[2], 3, 2), none(), block(w[3] + w[2], w[3], 1, False)]
            layers += [Conv(w[3], w[3], 3, 2), none(), block(w[4] + w[3], w[4], 1, False)]
        else:
            layers += [Conv(w[4], w[3]), none(), none(), block(2 * w[3], w[3], 1, False)]
            layers += [Conv(w[3], w[2]), none(), none(), block(2 * w[2], w[2], 1, False)]
            layers += [Conv(w[2], w[2], 3, 2), none(), block(2 * w[2], w[3], 1, False)]
            layers += [Conv(w[3], w[3], 3, 2), none(), block(2 * w[3], w[4], 1, False)]
        layers.append(nn.Conv2d(w[2], 7, 1))  # in place of the head
        self.model = nn.ModuleList(layers)

    def forward(self, x):
        m, outputs = self.model, {}
        for i in range(10):
            x = outputs[i] = m[i](x)
        up = nn.Upsample(scale_factor=2)
        if self.v8:
            p4 = m[12](torch.cat([up(x), outputs[6]], 1))
            p3 = m[15](torch.cat([up(p4), outputs[4]], 1))
            n4 = m[18](torch.cat([m[16](p3), p4], 1))
            return p3, n4, m[21](torch.cat([m[19](n4), x], 1))
        top = m[10](x)
        middle = m[14](m[13](torch.cat([up(top), outputs[6]], 1)))
        p3 = m[17](torch.cat([up(middle), outputs[4]], 1))
        n4 = m[20](torch.cat([m[18](p3), middle], 1))
        return p3, n4, m[23](torch.cat([m[21](n4), top], 1))


def randomise(model):
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                value.data.normal_(0.5, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


def build(kind, checkpoint=None):
    cfg = Config.fromfile(f'configs/kdeov_{kind}.py').model
    if checkpoint is not None:
        cfg.init_cfg = dict(type='YOLOWeights', checkpoint=str(checkpoint))
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.eval()


def features(model, image):
    with torch.no_grad():
        return model.neck(model.backbone(image))


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize('kind', ['yolov8n', 'yolov5s'])
@pytest.mark.parametrize('prefix', ['', 'model.'])
def test_features_are_those_of_ultralytics(tmp_path, image, kind, prefix):
    theirs = randomise(Ultralytics(kind))
    file = tmp_path / 'theirs.safetensors'
    save_file({prefix + name: value.half().contiguous() for name, value in theirs.state_dict().items()}, file)
    theirs.half().float()
    with torch.no_grad():
        expected = theirs(image)
    for found, wanted in zip(features(build(kind, file), image), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_features_are_those_of_mmyolo(tmp_path, image, monkeypatch):
    cfg = Config.fromfile('configs/_base_/yolov8n.py').vanilla
    theirs = randomise(MODELS.build(cfg))
    file = tmp_path / 'yolov8n.pth'
    torch.save(dict(state_dict=theirs.state_dict(), meta={}), file)
    lines = []
    monkeypatch.setattr('kdeov_mm.models.yolo_weights.print_log', lambda line, **_: lines.append(line))
    ours = build('yolov8n', file)
    for found, wanted in zip(features(ours, image), features(theirs, image), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    number = sum(v.numel() for part in ('backbone', 'neck') for v in getattr(theirs, part).state_dict().values())
    assert len(lines) == 1 and f'{number:,}' in lines[0] and str(file) in lines[0]


def test_other_parts_are_initialised_as_without_it(tmp_path):
    file = tmp_path / 'yolov8n.safetensors'
    save_file(randomise(Ultralytics('yolov8n')).state_dict(), file)
    with_file, without = build('yolov8n', file).state_dict(), build('yolov8n').state_dict()
    bias = [name for name in without if name.startswith('bbox_head.') and name.endswith('bias')]
    assert bias and all(torch.equal(with_file[name], without[name]) for name in bias)
    assert not torch.equal(with_file['backbone.stem.bn.weight'], without['backbone.stem.bn.weight'])


def damaged(kind):
    weights = Ultralytics('yolov8n').state_dict()
    if kind == 'a missing layer':
        return {name: value for name, value in weights.items() if not name.startswith('model.21.')}
    if kind == 'another size':
        return Ultralytics('yolov5s').state_dict()
    if kind == 'no YOLO':
        return dict(weight=torch.zeros(3))
    weights['model.0.conv.weight'][0] = torch.nan
    return weights


@pytest.mark.parametrize('kind', ['a missing layer', 'another size', 'no YOLO', 'NaN'])
def test_what_does_not_fit_is_refused(tmp_path, kind):
    file = tmp_path / 'theirs.safetensors'
    save_file(damaged(kind), file)
    with pytest.raises(InputError, match='theirs.safetensors'):
        build('yolov8n', file)


def test_the_head_and_the_unknown_are_left_out():
    renamed = rename_ultralytics({'model.22.cv2.0.weight': torch.zeros(1), 'names': torch.zeros(1)})
    assert renamed == {}
