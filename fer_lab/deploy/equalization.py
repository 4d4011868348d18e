"""Cross-layer equalisation of a float graph (Nagel et al. 2019, "Data-Free Quantization ...", section 4.1).

Where relu(s x) = s relu(x) for s > 0, the output channel i of one convolution can be divided by s_i and the input
channel i of the next multiplied by it without changing the function. With s_i = sqrt(r1_i r2_i) / r2_i both layers have
the same range r of their weights in that channel, so that one scale for all channels wastes no bits. It helps where
weights have one scale a tensor; with a scale a channel there is nothing left to equalise but the activations.
"""

import copy

import numpy as np
import onnx
from onnx import numpy_helper

ROUNDS, TOLERANCE = 20, 1e-3


def equalize(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `graph` with equalised pairs of convolutions; those with anything but Relu between them stay.

    A ReLU6 clips at 6, which scaling moves: its pairs stay as they are as well.
    """
    model = copy.deepcopy(graph)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    values = {name: numpy_helper.to_array(tensor).copy() for name, tensor in tensors.items()}
    pairs = _pairs(model, values)
    for _ in range(ROUNDS):
        most = max((_equalize(first, second, values) for first, second in pairs), default=0.0)
        if most < TOLERANCE:
            break
    for name in {name for pair in pairs for node in pair for name in node.input[1:]}:
        tensors[name].CopyFrom(numpy_helper.from_array(values[name], name))
    return model


def _pairs(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Convolutions that follow each other directly or through a Relu, with weights that nobody else uses."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def own(node: onnx.NodeProto) -> bool:
        return node.op_type == "Conv" and all(name in values and len(readers[name]) == 1 for name in node.input[1:])

    found = []
    for first in filter(own, model.graph.node):
        behind = readers.get(first.output[0], [])
        if len(behind) == 1 and behind[0].op_type == "Relu":
            behind = readers.get(behind[0].output[0], [])
        if len(behind) == 1 and own(behind[0]) and _input_ranges(behind[0], values) is not None:
            found.append((first, behind[0]))
    return found


def _input_ranges(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """Largest absolute weight of each input channel; None for grouped convolutions that are not depthwise."""
    weight = values[node.input[1]]
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    if group == 1:
        return np.abs(weight).max(axis=(0, *range(2, weight.ndim)))
    return np.abs(weight).max(axis=tuple(range(1, weight.ndim))) if group == len(weight) else None


def _equalize(first: onnx.NodeProto, second: onnx.NodeProto, values: dict[str, np.ndarray]) -> float:
    """Equalise one pair; returns how far the scales were from 1."""
    weight = values[first.input[1]]
    one, two = np.abs(weight).max(axis=tuple(range(1, weight.ndim))), _input_ranges(second, values)
    assert two is not None
    alive = (one > 0) & (two > 0)
    scale = np.where(alive, np.sqrt(one * np.where(alive, two, 1)) / np.where(alive, two, 1), 1).astype(np.float32)
    values[first.input[1]] = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
    if len(first.input) == 3:
        values[first.input[2]] = values[first.input[2]] / scale
    behind = values[second.input[1]]
    depthwise = behind.shape[1] == 1 and len(behind) == len(scale)
    shape = (-1, *[1] * (behind.ndim - 1)) if depthwise else (1, -1, *[1] * (behind.ndim - 2))
    values[second.input[1]] = behind * scale.reshape(shape)
    return float(np.abs(np.log(scale)).max())
