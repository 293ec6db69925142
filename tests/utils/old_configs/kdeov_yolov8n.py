act_cfg = dict(inplace=True, type='SiLU')
backend_args = None
batch_size = 32
channels = [
    256,
    512,
    1024,
]
clip_model = dict(model_name='kdeov-shapes', pretrained='shapes')
custom_hooks = [
    dict(
        text_encoder=dict(model_name='kdeov-shapes', pretrained='shapes', type='OpenCLIPTextEncoder'),
        type='VocabularyHook',
    ),
    dict(
        teacher=dict(model_name='kdeov-shapes', pretrained='shapes', type='OpenCLIPTeacher'),
        text_encoder=dict(model_name='kdeov-shapes', pretrained='shapes', type='OpenCLIPTextEncoder'),
        type='CLIPDistillationHook',
    ),
]
custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'kdeov_mm',
    ],
)
data_root = 'data/shapes/'
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
embed_dims = 128
env_cfg = dict(
    cudnn_benchmark=False, dist_cfg=dict(backend='nccl'), mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0)
)
find_unused_parameters = True
image_size = 128
load_from = None
log_level = 'INFO'
log_processor = dict(
    by_epoch=True, mean_pattern='.*(loss|time|grad_norm|teacher_cosine).*', type='LogProcessor', window_size=25
)
max_epochs = 14
meta_keys = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'captions',
    'gt_label',
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
            embed_dims=128,
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
        loss_region=dict(loss_weight=2.0, mode='cosine', type='DistillationLoss'),
        loss_similarity=dict(loss_weight=0.5, scale=20.0, type='SimilarityDistillationLoss'),
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
        text_dims=128,
        type='FiLMFusion',
        widen_factor=0.25,
    ),
    loss_image=dict(
        losses=dict(
            align=dict(loss_weight=0.1, type='CrossModalAlignmentLoss'),
            distill=dict(loss_weight=4.0, mode='cosine', type='DistillationLoss'),
            similarity=dict(loss_weight=1.0, scale=20.0, type='SimilarityDistillationLoss'),
        ),
        type='FeatureAlignmentLoss',
    ),
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
        embed_dims=128,
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
    optimizer=dict(lr=0.002, type='AdamW', weight_decay=0.05),
    paramwise_cfg=dict(bias_decay_mult=0.0, norm_decay_mult=0.0),
    type='OptimWrapper',
)
param_scheduler = [
    dict(begin=0, by_epoch=True, convert_to_iter_based=True, end=1, start_factor=0.01, type='LinearLR'),
    dict(begin=1, by_epoch=True, convert_to_iter_based=True, end=14, eta_min=2e-05, type='CosineAnnealingLR'),
]
randomness = dict(seed=0)
resume = False
shapes_world = dict(
    image_size=128,
    root='data/shapes/',
    seed=0,
    shares=dict(novel=0.25, recombined=0.1, unseen=0.1),
    sizes=dict(teacher=16000, test=800, test_single=1920, train=4000, val=200),
    splits=(
        'train',
        'val',
        'test',
        'test_single',
    ),
)
single_dataset = dict(
    ann_file='annotations/instances_test_single.json',
    data_prefix=dict(img='test_single/'),
    data_root='data/shapes/',
    groups=None,
    gt_label=True,
    pipeline=[
        dict(backend_args=None, type='LoadImageFromFile'),
        dict(
            scale=(
                128,
                128,
            ),
            type='mmdet.Resize',
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
                'captions',
                'gt_label',
            ),
            type='mmdet.PackDetInputs',
        ),
    ],
    test_mode=True,
    type='OVCocoDataset',
)
strides = [
    8,
    16,
    32,
]
test_cfg = dict(type='MultiTestLoop')
test_dataloader = [
    dict(
        batch_size=32,
        dataset=dict(
            ann_file='annotations/instances_test.json',
            caption_file='annotations/captions_test.json',
            data_prefix=dict(img='test/'),
            data_root='data/shapes/',
            groups=None,
            pipeline=[
                dict(backend_args=None, type='LoadImageFromFile'),
                dict(
                    scale=(
                        128,
                        128,
                    ),
                    type='mmdet.Resize',
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
                        'captions',
                        'gt_label',
                    ),
                    type='mmdet.PackDetInputs',
                ),
            ],
            test_mode=True,
            type='OVCocoDataset',
        ),
        num_workers=0,
        sampler=dict(shuffle=False, type='DefaultSampler'),
    ),
    dict(
        batch_size=32,
        dataset=dict(
            ann_file='annotations/instances_test_single.json',
            data_prefix=dict(img='test_single/'),
            data_root='data/shapes/',
            groups=None,
            gt_label=True,
            pipeline=[
                dict(backend_args=None, type='LoadImageFromFile'),
                dict(
                    scale=(
                        128,
                        128,
                    ),
                    type='mmdet.Resize',
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
                        'captions',
                        'gt_label',
                    ),
                    type='mmdet.PackDetInputs',
                ),
            ],
            test_mode=True,
            type='OVCocoDataset',
        ),
        num_workers=0,
        sampler=dict(shuffle=False, type='DefaultSampler'),
    ),
]
test_dataset = dict(
    ann_file='annotations/instances_test.json',
    caption_file='annotations/captions_test.json',
    data_prefix=dict(img='test/'),
    data_root='data/shapes/',
    groups=None,
    pipeline=[
        dict(backend_args=None, type='LoadImageFromFile'),
        dict(
            scale=(
                128,
                128,
            ),
            type='mmdet.Resize',
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
                'captions',
                'gt_label',
            ),
            type='mmdet.PackDetInputs',
        ),
    ],
    test_mode=True,
    type='OVCocoDataset',
)
test_evaluator = [
    [
        dict(ann_file='data/shapes/annotations/instances_test.json', type='OVCocoMetric'),
        dict(
            text_encoder=dict(model_name='kdeov-shapes', pretrained='shapes', type='OpenCLIPTextEncoder'),
            type='RetrievalMetric',
        ),
    ],
    dict(
        text_encoder=dict(model_name='kdeov-shapes', pretrained='shapes', type='OpenCLIPTextEncoder'),
        type='ZeroShotMetric',
    ),
]
test_loader = dict(batch_size=32, num_workers=0, sampler=dict(shuffle=False, type='DefaultSampler'))
test_pipeline = [
    dict(backend_args=None, type='LoadImageFromFile'),
    dict(
        scale=(
            128,
            128,
        ),
        type='mmdet.Resize',
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
            'captions',
            'gt_label',
        ),
        type='mmdet.PackDetInputs',
    ),
]
text_encoder = dict(model_name='kdeov-shapes', pretrained='shapes', type='OpenCLIPTextEncoder')
train_cfg = dict(max_epochs=14, type='EpochBasedTrainLoop')
train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        ann_file='annotations/instances_train.json',
        caption_file='annotations/captions_train.json',
        data_prefix=dict(img='train/'),
        data_root='data/shapes/',
        filter_cfg=dict(filter_empty_gt=False),
        groups=('base',),
        pipeline=[
            dict(backend_args=None, type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                scale=(
                    128,
                    128,
                ),
                type='mmdet.Resize',
            ),
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
                    'captions',
                    'gt_label',
                ),
                type='mmdet.PackDetInputs',
            ),
        ],
        type='OVCocoDataset',
    ),
    drop_last=True,
    num_workers=1,
    sampler=dict(shuffle=True, type='DefaultSampler'),
)
train_dataset = dict(
    ann_file='annotations/instances_train.json',
    caption_file='annotations/captions_train.json',
    data_prefix=dict(img='train/'),
    data_root='data/shapes/',
    filter_cfg=dict(filter_empty_gt=False),
    groups=('base',),
    pipeline=[
        dict(backend_args=None, type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(
            scale=(
                128,
                128,
            ),
            type='mmdet.Resize',
        ),
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
                'captions',
                'gt_label',
            ),
            type='mmdet.PackDetInputs',
        ),
    ],
    type='OVCocoDataset',
)
train_pipeline = [
    dict(backend_args=None, type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        scale=(
            128,
            128,
        ),
        type='mmdet.Resize',
    ),
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
            'captions',
            'gt_label',
        ),
        type='mmdet.PackDetInputs',
    ),
]
val_dataset = dict(
    ann_file='annotations/instances_val.json',
    caption_file='annotations/captions_val.json',
    data_prefix=dict(img='val/'),
    data_root='data/shapes/',
    groups=None,
    pipeline=[
        dict(backend_args=None, type='LoadImageFromFile'),
        dict(
            scale=(
                128,
                128,
            ),
            type='mmdet.Resize',
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
                'captions',
                'gt_label',
            ),
            type='mmdet.PackDetInputs',
        ),
    ],
    test_mode=True,
    type='OVCocoDataset',
)
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
