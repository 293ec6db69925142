"""The kinds of exported files, and the runtimes that INT8 files are written for."""

KINDS = ('image_encoder', 'detector', 'open_detector', 'text_encoder')
# Version of a kind's metadata, inputs and outputs. Detectors of version 1 scored class names against each other
# alone, those of version 2 left the hyponyms of a name out.
FORMATS = dict(image_encoder='1', detector='3', open_detector='3', text_encoder='1')
RUNTIMES = ('onnxruntime', 'openvino')  # each computes other parts of a network in INT8
