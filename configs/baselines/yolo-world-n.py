# YOLO-World-n (kdeov_mm/models/baselines/yolo_world.py) on the demo's data: same images, base labels, steps, optimizer
# and text embeddings; no image teacher.
_base_ = '../kdeov_yolov8n.py'

model = dict(
    _delete_=True,
    type='YOLOWorld',
    **_base_.clip_space,
    lexicon='shapes',  # conditions the neck whatever is asked, so that names can be asked alone
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=dict(_base_.model.neck, type='YOLOWorldPAFPN'),
    bbox_head=dict(
        type='YOLOWorldHead',
        head_module=dict(
            type='YOLOWorldHeadModule',
            num_classes=80,
            in_channels=_base_.channels,
            widen_factor=_base_.widen_factor,
            reg_max=16,
            featmap_strides=_base_.strides,
            norm_cfg=_base_.norm_cfg,
            act_cfg=_base_.act_cfg,
        ),
        prior_generator=_base_.model.bbox_head.prior_generator,
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

custom_hooks = [dict(type='VocabularyHook')]
test_dataloader = [
    dict(dataset=_base_.test_dataset, **_base_.test_loader),
    dict(dataset=_base_.general_dataset, **_base_.test_loader),
]
test_evaluator = [_base_.test_evaluator[0][:2], _base_.test_evaluator[2]]
