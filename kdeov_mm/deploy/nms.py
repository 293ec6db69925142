"""Non-maximum suppression of a batch with a result of fixed size, in PyTorch and in ONNX."""

import torch
from onnxscript import opset18 as op
from torch import Tensor

from kdeov_mm.models.post_processing import nms_by_class


@torch.library.custom_op('kdeov_mm::batched_nms', mutates_args=())
def batched_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, num_classes: int, iou_threshold: float, max_detections: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply non-maximum suppression within each class, for each image.

    Args:
        boxes: Candidate boxes ``[B, M, 4]``.
        scores: Scores of n classes of each box, ``[B, M, n]``; 0 means no detection.
        labels: The n classes of each box, without duplicates, ``[B, M, n]``, below ``num_classes``.
        num_classes: Number of classes K.
        iou_threshold: A box is removed if its intersection over union with a better box of its class is above this.
        max_detections: Number of boxes to return.

    Returns:
        tuple: Scores ``[B, max_detections]``, best first, padded with 0; their labels, padded with -1; and indices of
        their boxes, padded with 0.
    """
    top_scores = scores.new_zeros(len(boxes), max_detections)
    top_labels, index = labels.new_full((2, len(boxes), max_detections), -1)
    index = index * 0
    for image in range(len(boxes)):
        at, which = (scores[image] > 0).nonzero(as_tuple=True)
        candidates = boxes[image][at], scores[image][at, which], labels[image][at, which]
        keep = nms_by_class(*candidates, iou_threshold, max_detections)
        top_scores[image, : len(keep)], top_labels[image, : len(keep)] = candidates[1][keep], candidates[2][keep]
        index[image, : len(keep)] = at[keep]
    return top_scores, top_labels.clone(), index


@batched_nms.register_fake
def _(boxes, scores, labels, num_classes, iou_threshold, max_detections):
    shape = (boxes.shape[0], max_detections)
    return scores.new_empty(shape), labels.new_empty(shape), labels.new_empty(shape)


def batched_nms_onnx(boxes, scores, labels, num_classes, iou_threshold, max_detections):
    """Build :func:`batched_nms` of ONNX's operator, which has one list of boxes for all classes."""
    batch, count = op.Shape(boxes, start=0, end=1), op.Shape(boxes, start=1, end=2)
    num_classes = num_classes if not isinstance(num_classes, int) else op.Constant(value_ints=[num_classes])
    num_classes = op.Reshape(num_classes, op.Constant(value_ints=[-1]))
    none = op.Expand(op.Constant(value_float=0.0), op.Concat(batch, count, num_classes, axis=0))
    dense = op.Transpose(op.ScatterElements(none, labels, scores, axis=2), perm=[0, 2, 1])
    selected = op.NonMaxSuppression(
        boxes,
        dense,
        op.Constant(value_ints=[max_detections]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[0.0]),
    )
    # Rows (image, class, box), padded with empty rows
    empty = op.Expand(op.Constant(value_ints=[-1]), op.Constant(value_ints=[max_detections, 3]))
    rows = op.Concat(selected, empty, axis=0)
    values = op.Concat(
        op.GatherND(dense, selected),
        op.Expand(op.Constant(value_float=-1.0), op.Constant(value_ints=[max_detections])),
        axis=0,
    )
    images = op.Range(op.Constant(value_int=0), op.Squeeze(batch), op.Constant(value_int=1))
    image_of = op.Gather(rows, op.Constant(value_int=0), axis=1)
    own = op.Equal(
        op.Unsqueeze(images, op.Constant(value_ints=[1])), op.Unsqueeze(image_of, op.Constant(value_ints=[0]))
    )
    ranked, order = op.TopK(
        op.Where(own, values, op.Constant(value_float=-1.0)), op.Constant(value_ints=[max_detections]), axis=1
    )
    valid = op.Greater(ranked, op.Constant(value_float=0.0))
    top_labels = op.Gather(op.Gather(rows, op.Constant(value_int=1), axis=1), order, axis=0)
    index = op.Gather(op.Gather(rows, op.Constant(value_int=2), axis=1), order, axis=0)
    return (
        op.Where(valid, ranked, op.Constant(value_float=0.0)),
        op.Where(valid, top_labels, op.Constant(value_int=-1)),
        op.Where(valid, index, op.Constant(value_int=0)),
    )
