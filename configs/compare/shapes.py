# The demo's student, its teacher, a dual encoder, vanilla YOLO and YOLO-World on the shapes dataset, see
# docs/comparison.md:
# python tools/analysis_tools/compare.py configs/compare/shapes.py
models = [
    dict(name='KDEOV-n', checkpoint='work_dirs/kdeov_yolov8n', configs=dict(shapes='configs/kdeov_yolov8n.py')),
    dict(name='teacher', configs=dict(shapes='configs/baselines/openclip_kdeov-shapes.py')),
    dict(
        name='dual encoder',
        checkpoint='work_dirs/dual_encoder_shapes',
        configs=dict(shapes='configs/dual_encoder/resnet10t-transformer_shapes.py'),
    ),
    dict(
        name='YOLOv8n, closed set',
        checkpoint='work_dirs/yolov8n_shapes',
        configs=dict(shapes='configs/baselines/yolov8n_shapes.py'),
    ),
    dict(
        name='YOLO-World-n',
        checkpoint='work_dirs/yolo-world-n',
        configs=dict(shapes='configs/baselines/yolo-world-n.py'),
    ),
]
benchmarks = dict(
    shapes=dict(
        title='Shapes world',
        metrics=[
            'zero_shot/base/top1',
            'zero_shot/novel/top1',
            'retrieval/t2i/R@1',
            'retrieval/i2t/R@1',
            'ov/base/AP50',
            'ov/novel/AP50',
            'alone/base/AP50',
            'alone/novel/AP50',
            'alone/novel/false_alarms',
        ],
    )
)
