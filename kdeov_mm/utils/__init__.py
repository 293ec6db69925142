"""Utilities for all other packages; they import nothing from those.

Attributes are imported on first use: ``files``, ``json_files``, ``image_files`` and ``display`` need neither torch nor
MMEngine, so the runtime of exported models and the command line can use them.
"""

from .lazy import import_when_used

MODULES = dict(
    InputError='.errors',
    add_cfg_options='.options',
    check_at_least='.options',
    check_checkpoint='.checkpoint',
    check_groups='.checkpoint',
    check_weights='.checkpoint',
    enable_amp='.launch',
    export_weights='.checkpoint',
    find_model='.model_index',
    find_resume='.checkpoint',
    interruptible='.errors',
    is_finished='.checkpoint',
    load_config='.config',
    load_weights='.checkpoint',
    lock_run='.launch',
    parse_launched='.options',
    resolve_checkpoint='.checkpoint',
    saved_so_far='.checkpoint',
    set_launcher='.launch',
    unwrap='.model',
    user_errors='.errors',
)

__all__ = list(MODULES)
__getattr__ = import_when_used(__name__, MODULES)
