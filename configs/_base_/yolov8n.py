# Vanilla YOLOv8n: MMYOLO's own model, unchanged, in the sizes and with the test settings of its own config. A config
# that inherits this takes it as its model and sets the number of classes.
channels_v8 = [256, 512, 1024]
scale_v8 = dict(
    widen_factor=0.25, norm_cfg=dict(type='BN', momentum=0.03, eps=0.001), act_cfg=dict(type='SiLU', inplace=True)
)

vanilla = dict(
    type='YOLODetector',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[0.0, 0.0, 0.0],
        std=[255.0, 255.0, 255.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(type='YOLOv8CSPDarknet', arch='P5', last_stage_out_channels=1024, deepen_factor=0.33, **scale_v8),
    neck=dict(
        type='YOLOv8PAFPN',
        in_channels=channels_v8,
        out_channels=channels_v8,
        num_csp_blocks=3,
        deepen_factor=0.33,
        **scale_v8,
    ),
    bbox_head=dict(
        type='YOLOv8Head',
        head_module=dict(
            type='YOLOv8HeadModule',
            num_classes=80,
            in_channels=channels_v8,
            reg_max=16,
            featmap_strides=[8, 16, 32],
            **scale_v8,
        ),
        prior_generator=dict(type='mmdet.MlvlPointGenerator', offset=0.5, strides=[8, 16, 32]),
    ),
    train_cfg=dict(
        assigner=dict(
            type='BatchTaskAlignedAssigner', num_classes=80, topk=10, alpha=0.5, beta=6.0, eps=1e-9, use_ciou=True
        )
    ),
    test_cfg=dict(
        multi_label=True, nms_pre=30000, score_thr=0.001, nms=dict(type='nms', iou_threshold=0.7), max_per_img=300
    ),
)
