"""OpenCLIP models built from towers: timm's for images, Hugging Face's or OpenCLIP's for texts."""

import inspect
from collections.abc import Callable, Mapping

import open_clip
import timm
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import nn

from kdeov_mm.utils.display import suggest
from kdeov_mm.utils.safe_load import safe_load_patched

# Prefixes of the parameters that project OpenCLIP's towers to the joint space.
PROJECTIONS = ('head', 'proj', 'text_projection')


def build_towers(model_cfg: Mapping, pretrained: bool = False) -> tuple[nn.Module, Callable]:
    """Build a dual encoder and its tokenizer.

    Args:
        model_cfg: The fields of OpenCLIP's JSON model files: ``embed_dim``, ``vision_cfg`` (``timm_model_name``, ...),
            ``text_cfg`` (``hf_model_name`` and ``hf_tokenizer_name``, which may be local folders, or width, heads,
            layers), and further arguments of ``open_clip.CustomTextCLIP``.
        pretrained: Whether timm and Hugging Face towers begin with their own weights.

    Raises:
        ValueError: If a field is missing or unknown, or timm or Hugging Face has no such model.
        ImportError: If a Hugging Face tower is asked for and the package ``transformers`` is missing.
    """
    check_model_cfg(model_cfg)
    vision, text = dict(model_cfg['vision_cfg']), dict(model_cfg['text_cfg'])
    if vision.get('timm_model_name'):
        vision['timm_model_pretrained'] = pretrained
    if text.get('hf_model_name'):
        tokenizer = prepare_hugging_face(text)
        text['hf_model_pretrained'] = pretrained
    else:
        tokenizer = SimpleTokenizer(context_length=text.get('context_length', 77))
    others = {name: value for name, value in model_cfg.items() if name not in ('vision_cfg', 'text_cfg', 'custom_text')}
    with safe_load_patched():
        return open_clip.CustomTextCLIP(vision_cfg=vision, text_cfg=text, **others), tokenizer


def check_model_cfg(model_cfg: Mapping) -> None:
    """Check a model's config before anything is built; see :func:`build_towers`."""
    fields = {*inspect.signature(open_clip.CustomTextCLIP).parameters, 'custom_text'}
    vision, text = CLIPVisionCfg.__dataclass_fields__, CLIPTextCfg.__dataclass_fields__
    for what, given, known in (
        ('model_cfg', model_cfg, fields),
        ('model_cfg.vision_cfg', model_cfg.get('vision_cfg'), vision),
        ('model_cfg.text_cfg', model_cfg.get('text_cfg'), text),
    ):
        if given is None:
            raise ValueError(f'model_cfg: needs embed_dim, vision_cfg and text_cfg, got {", ".join(model_cfg)}')
        for name in given:
            if name not in known:
                raise ValueError(f'{what}: has no field {name!r}{suggest(name, known)}')
    if 'embed_dim' not in model_cfg:
        raise ValueError('model_cfg: needs embed_dim, the dimension of the joint space')
    name = model_cfg['vision_cfg'].get('timm_model_name')
    if name and not timm.is_model(name):
        raise ValueError(
            f'model_cfg.vision_cfg.timm_model_name: timm has no model {name!r}{suggest(name, timm.list_models())}'
        )


def prepare_hugging_face(text_cfg: Mapping) -> Callable:
    """Register a Hugging Face text tower with OpenCLIP and return its tokenizer; see :func:`build_towers`.

    OpenCLIP knows few model types and passes ``add_pooling_layer=False`` to each. Some, such as DistilBERT, do not take
    this argument.
    """
    name = text_cfg['hf_model_name']
    try:
        from transformers import MODEL_MAPPING, AutoConfig, AutoModel
    except ImportError as error:
        raise ImportError(
            f'model_cfg.text_cfg.hf_model_name={name!r} needs the package transformers: '
            'pip install "kdeov_mm[huggingface]"'
        ) from error
    from open_clip.hf_configs import arch_dict

    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        tokenizer = HFTokenizer(
            text_cfg.get('hf_tokenizer_name') or name, context_length=text_cfg.get('context_length', 77)
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f'model_cfg.text_cfg: {name!r} is no model or tokenizer of Hugging Face, nor a local folder '
            f'with one: {str(error).splitlines()[0]}'
        ) from error
    arch_dict.setdefault(config.model_type, dict(config_names=dict(width='hidden_size'), pooler='mean_pooler'))
    model = MODEL_MAPPING[type(config)]
    if 'add_pooling_layer' not in inspect.signature(model.__init__).parameters:

        class WithoutPooler(model):
            def __init__(self, config, add_pooling_layer: bool = False) -> None:
                super().__init__(config)

        AutoModel.register(type(config), WithoutPooler, exist_ok=True)
    return tokenizer


def freeze(tower: nn.Module) -> None:
    """Let only the projection of a tower learn."""
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(name.split('.')[0] in PROJECTIONS)


def keep_frozen(tower: nn.Module) -> None:
    """Put all of a frozen tower but its projection in inference mode: no dropout, fixed batch statistics."""
    for name, child in tower.named_children():
        if name not in PROJECTIONS:
            child.eval()
