"""Non-maximum suppression of a batch with a result of fixed size, in PyTorch and in ONNX."""

from typing import Tuple

import torch
from onnxscript import opset18 as op
from torch import Tensor

from kdeov_mm.models.post_processing import nms_by_class


@torch.library.custom_op('kdeov_mm::batched_nms', mutates_args=())
def batched_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, num_names: int, iou_threshold: float, most: int
) -> Tuple[Tensor, Tensor, Tensor]:
    """Non-maximum suppression within each name, for each image.

    Args:
        boxes: ``[B, M, 4]``.
        scores: Of the names that each box may have, ``[B, M, n]``; what is 0 does not count.
        labels: These names, different ones for each box, ``[B, M, n]``, below ``num_names``.
        num_names: K.
        iou_threshold: A box goes whose intersection over union with a better one of its name is above this.
        most: Boxes to return.

    Returns:
        tuple: Scores ``[B, most]``, best first and 0 where there is no box; their labels ``[B, most]``, -1 there; and
        indices of their boxes ``[B, most]``, 0 there.
    """
    found = scores.new_zeros(len(boxes), most)
    names, index = labels.new_full((2, len(boxes), most), -1)
    index = index * 0
    for image in range(len(boxes)):
        at, which = (scores[image] > 0).nonzero(as_tuple=True)
        candidates = boxes[image][at], scores[image][at, which], labels[image][at, which]
        keep = nms_by_class(*candidates, iou_threshold, most)
        found[image, : len(keep)], names[image, : len(keep)] = candidates[1][keep], candidates[2][keep]
        index[image, : len(keep)] = at[keep]
    return found, names.clone(), index


@batched_nms.register_fake
def _(boxes, scores, labels, num_names, iou_threshold, most):
    shape = (boxes.shape[0], most)
    return scores.new_empty(shape), labels.new_empty(shape), labels.new_empty(shape)


def batched_nms_onnx(boxes, scores, labels, num_names, iou_threshold, most):
    """The same as a graph around ONNX's own operator, which has one list of boxes for all classes."""
    batch, number = op.Shape(boxes, start=0, end=1), op.Shape(boxes, start=1, end=2)
    num_names = num_names if not isinstance(num_names, int) else op.Constant(value_ints=[num_names])
    num_names = op.Reshape(num_names, op.Constant(value_ints=[-1]))
    none = op.Expand(op.Constant(value_float=0.0), op.Concat(batch, number, num_names, axis=0))
    dense = op.Transpose(op.ScatterElements(none, labels, scores, axis=2), perm=[0, 2, 1])
    selected = op.NonMaxSuppression(
        boxes,
        dense,
        op.Constant(value_ints=[most]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[0.0]),
    )
    # Rows (image, name, box), to which as many empty ones are added as may be missing
    empty = op.Expand(op.Constant(value_ints=[-1]), op.Constant(value_ints=[most, 3]))
    rows = op.Concat(selected, empty, axis=0)
    values = op.Concat(
        op.GatherND(dense, selected), op.Expand(op.Constant(value_float=-1.0), op.Constant(value_ints=[most])), axis=0
    )
    images = op.Range(op.Constant(value_int=0), op.Squeeze(batch), op.Constant(value_int=1))
    image_of = op.Gather(rows, op.Constant(value_int=0), axis=1)
    own = op.Equal(
        op.Unsqueeze(images, op.Constant(value_ints=[1])), op.Unsqueeze(image_of, op.Constant(value_ints=[0]))
    )
    ranked, order = op.TopK(
        op.Where(own, values, op.Constant(value_float=-1.0)), op.Constant(value_ints=[most]), axis=1
    )
    there = op.Greater(ranked, op.Constant(value_float=0.0))
    names = op.Gather(op.Gather(rows, op.Constant(value_int=1), axis=1), order, axis=0)
    index = op.Gather(op.Gather(rows, op.Constant(value_int=2), axis=1), order, axis=0)
    return (
        op.Where(there, ranked, op.Constant(value_float=0.0)),
        op.Where(there, names, op.Constant(value_int=-1)),
        op.Where(there, index, op.Constant(value_int=0)),
    )
