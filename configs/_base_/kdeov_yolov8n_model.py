# YOLOv8n with text-conditioned fusion, projector and open-vocabulary head. A config adds the CLIP that it learns from:
# model = dict(**_base_.clip_space), where _base_/clip_*.py has the dimension and the text encoder.
deepen_factor, widen_factor = 0.33, 0.25
channels = [256, 512, 1024]
strides = [8, 16, 32]
norm_cfg = dict(type='BN', momentum=0.03, eps=0.001)
act_cfg = dict(type='SiLU', inplace=True)

find_unused_parameters = True  # an unconditional step leaves the fusion unused

model = dict(
    type='KDEOV',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='YOLOv8CSPDarknet',
        arch='P5',
        last_stage_out_channels=1024,
        deepen_factor=deepen_factor,
        widen_factor=widen_factor,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    fusion=dict(type='FiLMFusion', in_channels=channels, widen_factor=widen_factor),
    neck=dict(
        type='YOLOv8PAFPN',
        in_channels=channels,
        out_channels=channels,
        num_csp_blocks=3,
        deepen_factor=deepen_factor,
        widen_factor=widen_factor,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    projector=dict(type='Projector', in_channels=channels, widen_factor=widen_factor),
    bbox_head=dict(
        type='OpenVocabHead',
        head_module=dict(
            type='OpenVocabHeadModule',
            in_channels=channels,
            widen_factor=widen_factor,
            reg_max=16,
            featmap_strides=strides,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        ),
        prior_generator=dict(type='mmdet.MlvlPointGenerator', offset=0.5, strides=strides),
        loss_region=dict(type='DistillationLoss', loss_weight=2.0),
        loss_similarity=dict(type='SimilarityDistillationLoss', scale=20.0, loss_weight=0.5),
    ),
    loss_image=dict(
        type='FeatureAlignmentLoss',
        losses=dict(
            distill=dict(type='DistillationLoss', loss_weight=4.0),
            similarity=dict(type='SimilarityDistillationLoss', scale=20.0, loss_weight=1.0),
            align=dict(type='CrossModalAlignmentLoss', loss_weight=0.1),
        ),
    ),
    train_cfg=dict(
        assigner=dict(type='ClassAgnosticTaskAlignedAssigner', topk=10, alpha=0.5, beta=6.0, eps=1e-9, use_ciou=True)
    ),
    test_cfg=dict(
        nms_pre=300,
        classes_per_box=5,
        objectness_power=0.5,
        score_thr=0.001,
        nms=dict(type='nms', iou_threshold=0.7),
        max_per_img=100,
    ),
)
