act_cfg = dict(inplace=True, type='SiLU')
backend_args = None
channels = [
    256,
    512,
    1024,
]
clip_model = dict(model_name='ViT-B-32-quickgelu', pretrained='openai')
custom_hooks = [
    dict(
        text_encoder=dict(
            embeddings='data/clip_text/coco_clip_hand_craft.npy',
            names='data/coco/annotations/instances_val2017.json',
            type='PrecomputedTextEncoder',
        ),
        type='VocabularyHook',
    ),
]
custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'kdeov_mm',
    ],
)
data_root = 'data/coco/'
deepen_factor = 0.33
default_hooks = dict(
    broken_images=dict(type='BrokenImagesHook'),
    checkpoint=dict(interval=1, max_keep_ckpts=2, type='AtomicCheckpointHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    logger=dict(interval=25, type='LoggerHook'),
    loss_guard=dict(type='LossGuardHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    report=dict(type='ReportHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    throughput=dict(type='ThroughputHook'),
    timer=dict(type='IterTimerHook'),
)
default_scope = 'mmyolo'
embed_dims = 512
env_cfg = dict(
    cudnn_benchmark=False, dist_cfg=dict(backend='nccl'), mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)
)
find_unused_parameters = True
image_size = 640
letterbox = [
    dict(
        scale=(
            640,
            640,
        ),
        type='YOLOv5KeepRatioResize',
    ),
    dict(
        allow_scale_up=False,
        pad_val=dict(img=114),
        scale=(
            640,
            640,
        ),
        type='LetterResize',
    ),
]
load_from = None
log_level = 'INFO'
log_processor = dict(
    by_epoch=True, mean_pattern='.*(loss|time|grad_norm|teacher_cosine).*', type='LogProcessor', window_size=25
)
logit_scale = 100.0
max_epochs = 80
meta_keys = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'pad_param',
)
model = dict(
    backbone=dict(
        act_cfg=dict(inplace=True, type='SiLU'),
        arch='P5',
        deepen_factor=0.33,
        last_stage_out_channels=1024,
        norm_cfg=dict(eps=0.001, momentum=0.03, type='BN'),
        type='YOLOv8CSPDarknet',
        widen_factor=0.25,
    ),
    bbox_head=dict(
        head_module=dict(
            act_cfg=dict(inplace=True, type='SiLU'),
            embed_dims=512,
            featmap_strides=[
                8,
                16,
                32,
            ],
            in_channels=[
                256,
                512,
                1024,
            ],
            norm_cfg=dict(eps=0.001, momentum=0.03, type='BN'),
            reg_max=16,
            type='OpenVocabHeadModule',
            widen_factor=0.25,
        ),
        init_scale=50.0,
        loss_region=None,
        loss_similarity=None,
        loss_text=1.0,
        prior_generator=dict(
            offset=0.5,
            strides=[
                8,
                16,
                32,
            ],
            type='mmdet.MlvlPointGenerator',
        ),
        type='OpenVocabHead',
    ),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            0.0,
            0.0,
            0.0,
        ],
        pad_size_divisor=32,
        std=[
            255.0,
            255.0,
            255.0,
        ],
        type='mmdet.DetDataPreprocessor',
    ),
    fusion=dict(
        in_channels=[
            256,
            512,
            1024,
        ],
        text_dims=512,
        type='FiLMFusion',
        widen_factor=0.25,
    ),
    loss_image=None,
    neck=dict(
        act_cfg=dict(inplace=True, type='SiLU'),
        deepen_factor=0.33,
        in_channels=[
            256,
            512,
            1024,
        ],
        norm_cfg=dict(eps=0.001, momentum=0.03, type='BN'),
        num_csp_blocks=3,
        out_channels=[
            256,
            512,
            1024,
        ],
        type='YOLOv8PAFPN',
        widen_factor=0.25,
    ),
    projector=dict(
        embed_dims=512,
        in_channels=[
            256,
            512,
            1024,
        ],
        type='Projector',
        widen_factor=0.25,
    ),
    test_cfg=dict(
        classes_per_box=5,
        max_per_img=100,
        nms=dict(iou_threshold=0.7, type='nms'),
        nms_pre=300,
        objectness_power=0.5,
        score_thr=0.001,
    ),
    train_cfg=dict(
        assigner=dict(alpha=0.5, beta=6.0, eps=1e-09, topk=10, type='ClassAgnosticTaskAlignedAssigner', use_ciou=True)
    ),
    type='KDEOV',
)
norm_cfg = dict(eps=0.001, momentum=0.03, type='BN')
optim_wrapper = dict(
    clip_grad=dict(max_norm=10.0),
    optimizer=dict(lr=0.001, type='AdamW', weight_decay=0.05),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
    type='OptimWrapper',
)
param_scheduler = [
    dict(begin=0, by_epoch=True, convert_to_iter_based=True, end=1, start_factor=0.01, type='LinearLR'),
    dict(begin=1, by_epoch=True, convert_to_iter_based=True, end=80, eta_min=1e-05, type='CosineAnnealingLR'),
]
randomness = dict(seed=0)
resume = False
strides = [
    8,
    16,
    32,
]
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=16,
    dataset=dict(
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        data_root='data/coco/',
        groups=(
            'base',
            'novel',
        ),
        pipeline=[
            dict(backend_args=None, type='LoadImageFromFile'),
            dict(
                scale=(
                    640,
                    640,
                ),
                type='YOLOv5KeepRatioResize',
            ),
            dict(
                allow_scale_up=False,
                pad_val=dict(img=114),
                scale=(
                    640,
                    640,
                ),
                type='LetterResize',
            ),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                    'pad_param',
                ),
                type='mmdet.PackDetInputs',
            ),
        ],
        test_mode=True,
        type='OVCocoDataset',
        vocabulary='ov_coco',
    ),
    num_workers=2,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(ann_file='data/coco/annotations/instances_val2017.json', type='OVCocoMetric')
test_pipeline = [
    dict(backend_args=None, type='LoadImageFromFile'),
    dict(
        scale=(
            640,
            640,
        ),
        type='YOLOv5KeepRatioResize',
    ),
    dict(
        allow_scale_up=False,
        pad_val=dict(img=114),
        scale=(
            640,
            640,
        ),
        type='LetterResize',
    ),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
            'pad_param',
        ),
        type='mmdet.PackDetInputs',
    ),
]
text_encoder = dict(model_name='ViT-B-32-quickgelu', pretrained='openai', type='OpenCLIPTextEncoder')
train_cfg = dict(max_epochs=80, type='EpochBasedTrainLoop', val_interval=10)
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        data_root='data/coco/',
        filter_cfg=dict(filter_empty_gt=False),
        groups=('base',),
        pipeline=[
            dict(backend_args=None, type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                scale=(
                    640,
                    640,
                ),
                type='YOLOv5KeepRatioResize',
            ),
            dict(
                allow_scale_up=False,
                pad_val=dict(img=114),
                scale=(
                    640,
                    640,
                ),
                type='LetterResize',
            ),
            dict(
                border_val=(
                    114,
                    114,
                    114,
                ),
                max_aspect_ratio=100.0,
                max_rotate_degree=0.0,
                max_shear_degree=0.0,
                scaling_ratio_range=(
                    0.5,
                    1.5,
                ),
                type='YOLOv5RandomAffine',
            ),
            dict(type='YOLOv5HSVRandomAug'),
            dict(prob=0.5, type='mmdet.RandomFlip'),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                ),
                type='mmdet.PackDetInputs',
            ),
        ],
        type='OVCocoDataset',
        vocabulary='ov_coco',
    ),
    drop_last=True,
    num_workers=4,
    sampler=dict(shuffle=True, type='DefaultSampler'),
)
train_dataset = dict(
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    data_root='data/coco/',
    filter_cfg=dict(filter_empty_gt=False),
    groups=('base',),
    pipeline=[
        dict(backend_args=None, type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            scale=(
                640,
                640,
            ),
            type='YOLOv5KeepRatioResize',
        ),
        dict(
            allow_scale_up=False,
            pad_val=dict(img=114),
            scale=(
                640,
                640,
            ),
            type='LetterResize',
        ),
        dict(
            border_val=(
                114,
                114,
                114,
            ),
            max_aspect_ratio=100.0,
            max_rotate_degree=0.0,
            max_shear_degree=0.0,
            scaling_ratio_range=(
                0.5,
                1.5,
            ),
            type='YOLOv5RandomAffine',
        ),
        dict(type='YOLOv5HSVRandomAug'),
        dict(prob=0.5, type='mmdet.RandomFlip'),
        dict(
            meta_keys=(
                'img_id',
                'img_path',
                'ori_shape',
                'img_shape',
                'scale_factor',
                'flip',
                'flip_direction',
            ),
            type='mmdet.PackDetInputs',
        ),
    ],
    type='OVCocoDataset',
    vocabulary='ov_coco',
)
train_meta_keys = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
)
train_pipeline = [
    dict(backend_args=None, type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        scale=(
            640,
            640,
        ),
        type='YOLOv5KeepRatioResize',
    ),
    dict(
        allow_scale_up=False,
        pad_val=dict(img=114),
        scale=(
            640,
            640,
        ),
        type='LetterResize',
    ),
    dict(
        border_val=(
            114,
            114,
            114,
        ),
        max_aspect_ratio=100.0,
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        scaling_ratio_range=(
            0.5,
            1.5,
        ),
        type='YOLOv5RandomAffine',
    ),
    dict(type='YOLOv5HSVRandomAug'),
    dict(prob=0.5, type='mmdet.RandomFlip'),
    dict(
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
        ),
        type='mmdet.PackDetInputs',
    ),
]
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        data_root='data/coco/',
        groups=(
            'base',
            'novel',
        ),
        pipeline=[
            dict(backend_args=None, type='LoadImageFromFile'),
            dict(
                scale=(
                    640,
                    640,
                ),
                type='YOLOv5KeepRatioResize',
            ),
            dict(
                allow_scale_up=False,
                pad_val=dict(img=114),
                scale=(
                    640,
                    640,
                ),
                type='LetterResize',
            ),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                    'pad_param',
                ),
                type='mmdet.PackDetInputs',
            ),
        ],
        test_mode=True,
        type='OVCocoDataset',
        vocabulary='ov_coco',
    ),
    num_workers=2,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_dataset = dict(
    ann_file='annotations/instances_val2017.json',
    data_prefix=dict(img='val2017/'),
    data_root='data/coco/',
    groups=(
        'base',
        'novel',
    ),
    pipeline=[
        dict(backend_args=None, type='LoadImageFromFile'),
        dict(
            scale=(
                640,
                640,
            ),
            type='YOLOv5KeepRatioResize',
        ),
        dict(
            allow_scale_up=False,
            pad_val=dict(img=114),
            scale=(
                640,
                640,
            ),
            type='LetterResize',
        ),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            meta_keys=(
                'img_id',
                'img_path',
                'ori_shape',
                'img_shape',
                'scale_factor',
                'flip',
                'flip_direction',
                'pad_param',
            ),
            type='mmdet.PackDetInputs',
        ),
    ],
    test_mode=True,
    type='OVCocoDataset',
    vocabulary='ov_coco',
)
val_evaluator = dict(ann_file='data/coco/annotations/instances_val2017.json', chance=False, type='OVCocoMetric')
val_metric = dict(ann_file='data/coco/annotations/instances_val2017.json', type='OVCocoMetric')
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='mmdet.DetLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
widen_factor = 0.25
