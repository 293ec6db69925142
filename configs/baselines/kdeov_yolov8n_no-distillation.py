# The demo's training with the distillation losses off: base labels and base captions are all that is learnt from.
_base_ = '../kdeov_yolov8n.py'

model = dict(
    loss_image=dict(losses=dict(distill=None, similarity=None)), bbox_head=dict(loss_region=None, loss_similarity=None)
)
custom_hooks = [dict(type='VocabularyHook'), dict(type='CLIPDistillationHook', regions=False)]
