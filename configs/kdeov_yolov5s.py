# The demo's training with YOLOv5s in place of YOLOv8n.
_base_ = './kdeov_yolov8n.py'

widen_factor = 0.5

model = dict(
    backbone=dict(
        _delete_=True,
        type='YOLOv5CSPDarknet',
        deepen_factor=_base_.deepen_factor,
        widen_factor=widen_factor,
        norm_cfg=_base_.norm_cfg,
        act_cfg=_base_.act_cfg,
    ),
    fusion=dict(widen_factor=widen_factor),
    neck=dict(type='YOLOv5PAFPN', widen_factor=widen_factor),
    projector=dict(widen_factor=widen_factor),
    bbox_head=dict(head_module=dict(widen_factor=widen_factor)),
)
