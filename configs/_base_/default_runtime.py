custom_imports = dict(imports=['kdeov_mm'], allow_failed_imports=False)
default_scope = 'mmyolo'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=25),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    broken_images=dict(type='BrokenImagesHook'),
    throughput=dict(type='ThroughputHook'),
    loss_guard=dict(type='LossGuardHook'),
    text_encoder=dict(type='TextEncoderHook'),
    report=dict(type='ReportHook'),
)
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
randomness = dict(seed=0)

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='mmdet.DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(
    type='LogProcessor', window_size=25, by_epoch=True, mean_pattern=r'.*(loss|time|grad_norm|teacher_cosine).*'
)  # other values are those of the last step
log_level = 'INFO'
load_from = None
resume = False
backend_args = None
