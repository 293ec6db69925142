# YOLO-World-n on the demo's data: same images, base labels, steps, optimizer and text embeddings; no image teacher.
_base_ = ['../kdeov_yolov8n.py', '../_base_/yolo_world_n.py']

model = dict(_base_.yolo_world, _delete_=True, **_base_.clip_space, lexicon='shapes')  # which conditions the neck

custom_hooks = [dict(type='VocabularyHook')]
find_unused_parameters = False
test_dataloader = [_base_.test_dataloader[0], _base_.test_dataloader[2]]  # scenes, with both kinds of names
test_evaluator = [_base_.test_evaluator[0][:2], _base_.test_evaluator[2]]  # no embedding of the image
