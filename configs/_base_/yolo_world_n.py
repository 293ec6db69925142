# YOLO-World-n (kdeov_mm/models/baselines/yolo_world.py), in the sizes of vanilla YOLOv8n. A config that inherits this
# takes it as its model, with the CLIP of its data: model = dict(_base_.yolo_world, _delete_=True, **_base_.clip_space)
_base_ = './yolov8n.py'

vanilla_head = _base_.vanilla.bbox_head
yolo_world = dict(
    _base_.vanilla,
    type='YOLOWorld',
    neck=dict(_base_.vanilla.neck, type='YOLOWorldPAFPN'),
    bbox_head=dict(
        vanilla_head, type='YOLOWorldHead', head_module=dict(vanilla_head.head_module, type='YOLOWorldHeadModule')
    ),
)
