# YOLO-World-n on the hard shapes dataset, trained as configs/kdeov_yolov8n_shapes-hard.py; see yolo-world-n.py.
_base_ = ['../kdeov_yolov8n_shapes-hard.py', '../_base_/yolo_world_n.py']

model = dict(_base_.yolo_world, _delete_=True, **_base_.clip_space, lexicon='shapes')  # which conditions the neck

custom_hooks = [dict(type='VocabularyHook')]
find_unused_parameters = False
test_dataloader = [_base_.test_dataloader[0], _base_.test_dataloader[2]]
test_evaluator = [_base_.test_evaluator[0][:2], _base_.test_evaluator[2]]
