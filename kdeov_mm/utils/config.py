"""Reading of configs with the commands' options: ``--data-root``, ``--cfg-options`` and ``--work-dir``."""

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import root as root_registries
from mmengine.registry import Registry
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .display import suggest
from .errors import InputError
from .old_configs import upgrade_config
from .options import RawOptions, check_config_file

RUNNER_FIELDS = {
    'activation_checkpointing',
    'auto_scale_lr',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
OPEN_FIELDS = {'custom_keys', 'paramwise_cfg'}  # their keys are free


def load_config(
    path: str, cfg_options: dict | None = None, data_root: str | None = None, work_dir: str | None = None
) -> Config:
    """Read a config file and apply the commands' options to it.

    Args:
        path: Config file.
        cfg_options: Dotted names and values of fields to replace; ``data_root`` among them acts like the argument.
        data_root: Replaces the config's ``data_root`` everywhere, see :func:`replace_data_root`.
        work_dir: Folder of logs and checkpoints; default: that of the config, else ``work_dirs/<name of the config>``.

    Raises:
        InputError: If the file is missing or cannot be read, or an option names a field that does not exist.
    """
    cfg = read_config(path)
    upgrade_config(cfg)
    drop_collate_scope(cfg)
    options = cfg_options.parse() if isinstance(cfg_options, RawOptions) else dict(cfg_options or {})
    data_root = data_root or options.pop('data_root', None)
    if data_root:
        cfg = replace_data_root(cfg, data_root)
    for name in options:
        check_option(cfg, name)
    try:
        cfg.merge_from_dict(options)
    except (TypeError, KeyError) as error:
        raise InputError(f'--cfg-options {options} do not fit the config: {error}') from error
    if work_dir or not cfg.get('work_dir'):
        cfg.work_dir = work_dir or str(Path('work_dirs', Path(path).stem))
    return cfg


def read_config(path: str) -> Config:
    """Read a config file.

    Raises:
        InputError: If the file is missing or is not a config.
    """
    check_config_file(path)
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is code: anything can go wrong in it
        raise InputError(f'config file {path} cannot be read: {type(error).__name__}: {error}') from error


def find_hook(cfg: Config, kind: str) -> dict:
    """Return the config of a hook in ``custom_hooks``.

    Raises:
        InputError: If the config has no such hook.
    """
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] == kind]
    if not hooks:
        raise InputError(f'custom_hooks: the config has no {kind}, whose settings are needed here')
    return hooks[0]


def first_test_dataloader(cfg: Config) -> ConfigDict:
    """Return the config of the first test dataloader, whose pipeline is used for inference.

    Raises:
        InputError: If the config has no test dataloader.
    """
    loader = cfg.get('test_dataloader')
    if not loader:
        raise InputError('test_dataloader: the config has none, and its pipeline prepares the images')
    return loader[0] if isinstance(loader, (list, tuple)) else loader


def drop_collate_scope(cfg: Config) -> None:
    """Remove the ``_scope_`` that MMEngine adds to collate functions inherited from ``mmyolo::``.

    MMEngine would pass it to the function as an argument.
    """
    for name in cfg:
        dataloaders = cfg[name] if isinstance(cfg[name], list) else [cfg[name]]
        for dataloader in dataloaders if name.endswith('_dataloader') else ():
            if isinstance(dataloader, dict) and isinstance(dataloader.get('collate_fn'), dict):
                dataloader['collate_fn'].pop('_scope_', None)


def replace_data_root(cfg: Config, data_root: str) -> Config:
    """Return a config whose paths below the old ``data_root`` are below the new one.

    Raises:
        InputError: If the config has no ``data_root`` at its top level.
    """
    old = cfg.get('data_root')
    if not isinstance(old, str) or not old.strip('/'):
        raise InputError(
            f'--data-root {data_root}: {cfg.filename} has no data_root to replace; '
            'give it one at its top level, or use --cfg-options with the full names of the fields'
        )
    old = old.rstrip('/')

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {replace(key): replace(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(replace(item) for item in value)
        if isinstance(value, str) and (value == old or value.startswith(f'{old}/')):
            return data_root.rstrip('/') + value[len(old) :] if data_root != '/' else value[len(old) :]
        return value

    return Config(replace(cfg.to_dict()), filename=cfg.filename)


def check_option(cfg: Config, name: str) -> None:
    """Check that a dotted name is a field of the config, or an argument of the class it belongs to.

    Raises:
        InputError: If it is not; the message suggests similar names.
    """
    node, parts = cfg._cfg_dict, name.split('.')
    for depth, part in enumerate(parts):
        here = '.'.join(parts[:depth])
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise InputError(
                    f'--cfg-options {name}: {here} is a list of {len(node)}; '
                    f'expected an index from 0 to {len(node) - 1}, got {part!r}'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            if part not in node:
                allowed = allowed_fields(node, parts[depth - 1] if depth else '')
                if allowed is None or part in allowed:
                    return
                raise InputError(
                    f'--cfg-options {name}: {here or "the config"} has no field {part!r}'
                    f'{suggest(part, sorted({*map(str, node), *allowed}))}'
                )
            node = node[part]
        elif node is None:
            return
        else:
            raise InputError(f'--cfg-options {name}: {here} is {node!r}, which has no fields')
    if len(parts) == 1 and name not in runner_fields() and not isinstance(node, (dict, list)):
        same = [path for path in leaves(cfg._cfg_dict) if path.rsplit('.', 1)[-1] == name and path != name]
        if same:
            warnings.warn(
                f'--cfg-options {name} changes a variable of the config file, not the fields that use it: '
                f'{", ".join(same)}'
            )


def allowed_fields(node: dict, name: str) -> set[str] | None:
    """Return the additional fields that the dict called ``name`` may have; None for any."""
    if name in OPEN_FIELDS:
        return None
    if not name:
        return runner_fields()
    if name.endswith('_dataloader'):
        return parameters(DataLoader) | {'num_batch_per_epoch'}
    if name == 'train_cfg' and 'type' not in node:
        return parameters(EpochBasedTrainLoop) | parameters(IterBasedTrainLoop)
    fields = {'constructor', 'paramwise_cfg'} if name == 'optim_wrapper' else set()
    return fields.union(*map(parameters, find_classes(node.get('type'))))


def runner_fields() -> set[str]:
    return parameters(Runner) | RUNNER_FIELDS


def parameters(function: Any) -> set[str]:
    """Return the argument names of a function or class, including those that ``**kwargs`` pass to its bases."""
    names: set[str] = set()
    functions = (
        [vars(base)['__init__'] for base in function.__mro__ if '__init__' in vars(base)]
        if inspect.isclass(function)
        else [function]
    )
    for each in functions:
        try:
            arguments = inspect.signature(each).parameters.values()
        except (ValueError, TypeError):  # written in C
            break
        names |= {a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)}
        if not any(a.kind == a.VAR_KEYWORD for a in arguments):
            break
    return names - {'self'}


def find_classes(type_: Any) -> list[Any]:
    """Return the classes that a config's ``type`` may mean: the class itself, or all registered with that name."""
    if not isinstance(type_, str):
        return [type_] if callable(type_) else []
    scope, _, name = type_.rpartition('.')
    classes = []
    for root in vars(root_registries).values():
        if isinstance(root, Registry):
            for registry in (root, *root.children.values()):
                if name in registry.module_dict and scope in ('', registry.scope):
                    classes.append(registry.module_dict[name])
    return classes


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted names of all fields of a config that are neither dict nor list."""
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        yield '.'.join(path)
        return
    for key, value in node.items():
        yield from leaves(value, (*path, str(key)))
