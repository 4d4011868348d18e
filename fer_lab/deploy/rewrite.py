"""The same function in cheaper operations: what a network needs before integers can pay off. Exact up to rounding.

Measured on x86: between a uint8 face and the first integer convolution, resizing and normalising in float cost as much
as half of an INT8 network, because integer graphs are laid out channels-last, where broadcasting over three channels is
slow. Averaging by ReduceMean has no integer kernel in ONNX Runtime, GlobalAveragePool has.
"""

import copy

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.models.network import Network
from fer_lab.models.preprocess import Preprocess

CONV = {"dilations": 1, "strides": 1, "pads": 0, "group": 1}  # what a convolution does unless an attribute says else
ONES = 255.0  # value of the constant channel: as large as a pixel may be, so that both share one scale


class RawPixels(nn.Module):
    """In the place of `Preprocess`: resizes by two matrix products and normalises nothing.

    matrix: float32 S×s, what bilinear resizing does to a column of s pixels.
    """

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, faces: Tensor) -> Tensor:
        """uint8 N×s×s×C to float32 N×(C+1)×S×S: pixels 0..255 and a channel that is 255 everywhere."""
        n, height, width, channels = faces.shape
        # Of one channel these are the same bytes, and a transpose would be pushed through the graph.
        first = faces.reshape(n, 1, height, width) if channels == 1 else faces.permute(0, 3, 1, 2)
        images = first.float()
        if self.matrix.shape[0] != self.matrix.shape[1]:
            images = self.matrix @ images @ self.matrix.T
        return F.pad(images, (0, 0, 0, 0, 0, 1), value=ONES)  # a tensor of ones would lie in LiteRT's files


def fold_preprocessing(network: Network, face_shape: tuple[int, int, int]) -> Network:
    """A copy whose first convolution takes raw pixels and a constant channel; the network itself where it cannot be.

    With x_c = (v_c / 255 - mean_c) / std_c, a convolution of x with weights w_c is one of v with w_c / (255 std_c) and
    of a channel of ones with -Σ_c w_c mean_c / std_c. The constant is a channel and not a bias because the border is
    padded with zeros after normalising. A grey face has one v for all three c, so its channels are summed.

    face_shape: H, W, C of the native face.
    """
    preprocess = network.preprocess
    if not isinstance(preprocess, Preprocess) or preprocess.illumination is not None:
        return network  # what is done to the light need not be linear
    folded = copy.deepcopy(network).cpu().eval()
    stem = next((m for m in folded.backbone.modules() if isinstance(m, nn.Conv2d)), None)
    if stem is None or stem.in_channels != 3 or stem.groups != 1:
        return network
    mean, std = (t.double().cpu() for t in (preprocess.mean, preprocess.std))
    weight = stem.weight.detach().double()  # K×3×h×w
    own, shift = weight / (255 * std), -(weight * mean / std).sum(1, keepdim=True) / ONES
    own = own.sum(1, keepdim=True) if face_shape[2] == 1 else own
    stem.weight = nn.Parameter(torch.cat([own, shift], 1).float())
    stem.in_channels = face_shape[2] + 1
    folded.preprocess = RawPixels(_resize_matrix(face_shape[0], preprocess.input_size))  # type: ignore[assignment]
    return folded


def _resize_matrix(native: int, size: int) -> Tensor:
    """float32 size×native, found by resizing one lit row of pixels at a time, as `Preprocess` does."""
    lit = torch.eye(native)[:, None, :, None].expand(-1, 1, -1, native)
    if native == size:
        return torch.eye(native)
    resized = F.interpolate(lit, (size, size), mode="bilinear", align_corners=False, antialias=native > size)
    return resized[:, 0, :, size // 2].T.contiguous()


def pool_globally(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `graph` in which each ReduceMean over height and width is a GlobalAveragePool."""
    model = copy.deepcopy(graph)
    axes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        kept = {attribute.name: attribute.i for attribute in node.attribute}
        pooled = node.op_type == "ReduceMean" and len(node.input) == 2 and kept.get("keepdims", 1)
        if pooled and sorted(axes.get(node.input[1], [])) in ([2, 3], [-2, -1]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
    drop_unread(model)
    return model


def drop_unread(model: onnx.ModelProto) -> None:
    """Take out the nodes and tensors that nothing reads any more. In place."""
    while True:
        read = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
        unread = [node for node in model.graph.node if not read & {*node.output}]
        if not unread:
            break
        for node in unread:
            model.graph.node.remove(node)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def slim(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an INT8 `graph` (QDQ, faces -> logits) in fewer bytes, for the same answers.

    Scales, zero points and names are a fifth of a small network's file. Integer biases of convolutions become the
    floats they stand for, which ONNX Runtime rounds to the same integers when it loads them; zero points of their
    weights that are 0 are left out, as 0 is what is read then; inner names become short ones.
    """
    model = copy.deepcopy(graph)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    convolved = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    for node in [node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held]:
        if node.output[0] not in convolved:  # an integer Gemm wants it all
            continue
        stored, scale, *zero = (numpy_helper.to_array(held[name]) for name in node.input)
        if any(point.any() for point in zero):
            continue
        if stored.dtype == np.int32:
            bias = numpy_helper.from_array((stored * scale).astype(np.float32), node.output[0])
            model.graph.initializer.append(bias)
            model.graph.node.remove(node)
        del node.input[2:]
    drop_unread(model)
    _shorten_names(model.graph)
    return model


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Names of all but the graph's inputs and outputs; those of nodes, and what goes without saying, are dropped."""
    short = {value.name: value.name for value in (*graph.input, *graph.output)} | {"": ""}
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [short.setdefault(name, f"t{len(short)}") for name in names]
        node.ClearField("name")
        node.ClearField("doc_string")
        del node.metadata_props[:]
        if node.op_type == "Conv":
            said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            kept = [a for a in node.attribute if {*np.atleast_1d(said[a.name])} != {CONV.get(a.name)}]
            del node.attribute[:]
            node.attribute.extend(kept)
    for tensor in graph.initializer:
        tensor.name = short[tensor.name]
    del graph.value_info[:]
