"""Bias correction of a quantised graph (Nagel et al. 2019, "Data-Free Quantization ...", section 4.2, empirical form).

Rounding a layer's weights by dW shifts its output by dW * E[x] on average. Such shifts add up over fifty layers and
are worst where a BatchNorm with a tiny variance was folded in. They are known exactly, so they go into the biases.
"""

import copy

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from rich.console import Console
from rich.progress import track

from fer_lab.deploy.onnx import INPUT

BATCH = 32
CORRECTING = 128  # faces at most, evenly spread, on which mean inputs are measured


def correct_bias(quantized: onnx.ModelProto, reference: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    """`quantized` with its int32 biases moved so that weight rounding shifts no output channel on average.

    reference: the float graph `quantized` was made from, with the same node names; faces: uint8 N×H×W×C.
    Layers whose weight or bias stayed float are left alone.
    """
    corrected = copy.deepcopy(quantized)
    dequantize = {node.output[0]: node for node in corrected.graph.node if node.op_type == "DequantizeLinear"}
    originals = {node.name: node for node in reference.graph.node if node.op_type in ("Conv", "Gemm")}
    pairs = [
        (originals[node.name], dequantize[node.input[1]], dequantize[node.input[2]])
        for node in corrected.graph.node
        if node.name in originals and len(node.input) == 3 and {*node.input[1:]} <= {*dequantize}
    ]
    integers = {tensor.name: tensor for tensor in corrected.graph.initializer}
    floats = {tensor.name: tensor for tensor in reference.graph.initializer}
    some = faces[:: -(-len(faces) // CORRECTING)]
    means = mean_inputs(reference, sorted({original.input[0] for original, _, _ in pairs}), some)
    for original, weight, bias in pairs:
        values, scale, zero = (numpy_helper.to_array(integers[name]).astype(np.float32) for name in weight.input)
        per_channel = (-1, *[1] * (values.ndim - 1))
        rounded = (values - zero.reshape(per_channel)) * scale.reshape(per_channel)
        shift = _mean_output(
            original, rounded - numpy_helper.to_array(floats[original.input[1]]), means[original.input[0]], reference
        )
        old, step = (numpy_helper.to_array(integers[name]) for name in bias.input[:2])
        limits = np.iinfo(np.int32)
        new = np.clip(np.round(old - shift / step), limits.min, limits.max).astype(np.int32)
        integers[bias.input[0]].CopyFrom(numpy_helper.from_array(new, bias.input[0]))
    return corrected


def mean_inputs(model: onnx.ModelProto, names: list[str], faces: np.ndarray) -> dict[str, np.ndarray]:
    """Mean over the faces of each named tensor, float32 with a leading 1: position kept, because borders are padded."""
    probe = copy.deepcopy(model)
    probe.graph.initializer.append(numpy_helper.from_array(np.array([0]), "batch_axis"))
    del probe.graph.output[:]
    for name in names:
        probe.graph.node.append(onnx.helper.make_node("ReduceMean", [name, "batch_axis"], [f"{name}_mean"], keepdims=1))
        probe.graph.output.append(onnx.helper.make_tensor_value_info(f"{name}_mean", onnx.TensorProto.FLOAT, None))
    running = session(probe)
    means = [np.zeros((), np.float32)] * len(names)
    starts = range(0, len(faces), BATCH)
    for start in track(starts, "correcting INT8", console=Console(stderr=True), transient=True):
        batch = np.ascontiguousarray(faces[start : start + BATCH])
        share = np.float32(len(batch) / len(faces))
        means = [mean + share * new for mean, new in zip(means, running.run(None, {INPUT: batch}), strict=True)]
    return dict(zip(names, means, strict=True))


def _mean_output(node: onnx.NodeProto, weight: np.ndarray, inputs: np.ndarray, model: onnx.ModelProto) -> np.ndarray:
    """Mean of each output channel (K) of one Conv or Gemm without bias, with `weight` in place of its own."""
    single = copy.deepcopy(node)
    del single.input[2:]
    graph = onnx.helper.make_graph(
        [single],
        "layer",
        [onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, inputs.shape)],
        [onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, node.input[1])],
    )
    layer = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    output = session(layer).run(None, {node.input[0]: inputs})[0]
    return output.mean(axis=(0, *range(2, output.ndim)))


def session(model: onnx.ModelProto, threads: int = 0) -> onnxruntime.InferenceSession:
    """`model` opened on the CPU, warnings left out. threads: that share a call, 0 for all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
