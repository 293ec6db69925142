"""The kinds of exported files, and the runtimes that INT8 files are written for."""

KINDS = ('image_encoder', 'detector', 'open_detector', 'text_encoder')
RUNTIMES = ('onnxruntime', 'openvino')  # each computes other parts of a network in INT8
