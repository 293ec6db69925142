# Stage 1 from the teacher's stored embeddings (docs/teacher_cache.md). Write them first:
#   python tools/cache_teacher.py configs/kdeov_yolov8n_pretrain.py data/shapes/teacher_store --views 8
_base_ = './kdeov_yolov8n_pretrain.py'

teacher = dict(type='OpenCLIPTeacher', **_base_.clip_model)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CachedTeacherDataset',
        dataset=_base_.train_dataset,
        store=_base_.data_root + 'teacher_store',
        teacher=teacher,
        text_encoder=_base_.text_encoder,
    )
)
custom_hooks = [
    dict(type='VocabularyHook', text_encoder=_base_.text_encoder),
    dict(type='CLIPDistillationHook', teacher=teacher, text_encoder=_base_.text_encoder, train=False),
]
train_cfg = dict(type='ResumableTrainLoop')  # whose samples are functions of seed, epoch and index
