"""The last linear layer of a quantised network, fitted anew to what the network's integers really say.

Rounding fifty layers shifts and blurs the features that the last layer reads, in much the same way for every face. That
layer is linear, so the weights that bring the float network's logits back are known in closed form: ridge regression of
the logits' error on the quantised features of training faces, its strength chosen by leave-one-out error. It is the
layer-wise fit of AdaQuant (Hubara et al. 2021, "Accurate Post Training Quantization With Small Calibration Sets",
section 3) for the one layer where it needs no gradient. No label is used. The layer itself stays float: it is a
thousandth of the work.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from fer_lab.deploy.bias_correction import session
from fer_lab.deploy.calibration import LOGITS
from fer_lab.deploy.copies import Spread
from fer_lab.deploy.onnx import INPUT
from fer_lab.deploy.rewrite import drop_unread
from fer_lab.deploy.signal_stack import signal_stack_kept
from fer_lab.errors import FerLabError
from fer_lab.extras import optional

if TYPE_CHECKING:
    from openvino import Model

STRENGTHS = np.logspace(-4, 1, 6)  # of the ridge, times the mean square of a feature and the count of faces


@dataclass(frozen=True)
class Linear:
    """The last layer: weight float32 K×F and bias float32 K, so that logits = features @ weight.T + bias."""

    weight: np.ndarray
    bias: np.ndarray

    def fitted(self, features: np.ndarray, wanted: np.ndarray) -> "Linear":
        """This layer with what ridge regression adds to it, that `features` (float N×F) give `wanted` (float N×K)."""
        from sklearn.linear_model import RidgeCV

        features, wanted = features.astype(np.float64), wanted.astype(np.float64)
        error = wanted - (features @ self.weight.T + self.bias)
        strengths = STRENGTHS * max(features.var(0).mean(), 1e-12) * len(features)
        ridge = RidgeCV(strengths).fit(features, error)
        added, shift = np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_)
        return Linear((self.weight + added).astype(np.float32), (self.bias + shift).astype(np.float32))


def affordable(faces: int, tmacs: float | None, macs: int) -> int:
    """How many of at most `faces` a float network of `macs` multiply-adds a face answers within `tmacs` 10^12 of them.

    tmacs: None for no limit.

    Raises:
        FerLabError: a limit that is not above 0.
    """
    if tmacs is None:
        return faces
    if tmacs <= 0:
        raise FerLabError(f"export.refit_tmacs={tmacs} allows no face: give more than 0, or null for no limit")
    return min(faces, int(tmacs * 1e12 / macs))


def refit_onnx(
    quantized: onnx.ModelProto, reference: onnx.ModelProto, faces: np.ndarray, wanted: np.ndarray
) -> onnx.ModelProto:
    """`quantized` (faces -> logits, QDQ) with its last Gemm float and fitted to `wanted`.

    reference: the float graph it was made from, which has the layer's own weights under the same name of the node.
    faces: training faces uint8 N×H×W×C; wanted: a float network's logits of them, float N×K.

    Raises:
        FerLabError: no Gemm gives the logits.
    """
    model = copy.deepcopy(quantized)
    layer, node = _linear(reference), _last_gemm(model)
    tapped = copy.deepcopy(model)
    tapped.graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    layer = layer.fitted(asked(tapped, node.input[0])(faces).reshape(len(faces), -1), wanted)
    names = f"{node.name}_weight", f"{node.name}_bias"
    for name, value in zip(names, (layer.weight, layer.bias), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    node.input[1:] = names
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("transB", 1))
    drop_unread(model)
    return model


def refit_openvino(quantized: "Model", reference: onnx.ModelProto, faces: np.ndarray, wanted: np.ndarray) -> "Model":
    """The same of an OpenVINO model; reference: the ONNX graph behind it. See `refit_onnx`."""
    import openvino
    from openvino import opset13

    model = quantized.clone()
    result = model.output(LOGITS)
    features = _matmul(result.get_node()).input_value(0)
    tapped = openvino.Model([opset13.result(features)], model.get_parameters(), "features")
    cores = torch.get_num_threads()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": cores, "INFERENCE_NUM_THREADS": cores}
    with signal_stack_kept():
        compiled = openvino.Core().compile_model(tapped, "CPU", settings)

    def copy() -> Callable[[np.ndarray], np.ndarray]:
        request = compiled.create_infer_request()
        return lambda batch: next(iter(request.infer({INPUT: batch}).values())).copy()

    seen = np.concatenate(Spread([copy() for _ in range(cores)])(faces))
    layer = _linear(reference).fitted(seen.reshape(len(faces), -1), wanted)
    product = opset13.matmul(features, opset13.constant(layer.weight), False, True)
    answer = opset13.add(product, opset13.constant(layer.bias[None])).output(0)
    answer.get_tensor().set_names(result.get_names())
    return openvino.Model([opset13.result(answer)], model.get_parameters(), model.get_friendly_name())


def refit_tflite(quantized: bytes, faces: np.ndarray, wanted: np.ndarray) -> bytes:
    """The same of a flatbuffer, whose last layer `fer_lab.deploy.tflite.quantize` leaves float."""
    from fer_lab.deploy.tflite import read

    tools = optional("ai_edge_litert.tools.flatbuffer_utils", "tflite")
    interpreters = optional("ai_edge_litert.interpreter", "tflite")
    schema = optional("ai_edge_litert.schema_py_generated", "tflite")
    model = read(quantized)
    graph = model.subgraphs[0]
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    last = [op for op in graph.operators if kinds[op.opcodeIndex] == schema.BuiltinOperator.FULLY_CONNECTED][-1]
    source, *held = (int(index) for index in last.inputs[:3])
    buffers = [model.buffers[graph.tensors[index].buffer] for index in held]
    if any(graph.tensors[index].type != schema.TensorType.FLOAT32 for index in held):
        raise FerLabError("the last layer of this .tflite is not float: it cannot be fitted anew")
    bias, weight = sorted((np.frombuffer(bytes(buffer.data), np.float32) for buffer in buffers), key=len)
    outputs = list(graph.outputs)
    graph.outputs = [*outputs, source]
    tapped = bytes(tools.convert_object_to_bytearray(model))
    graph.outputs = outputs

    def copy() -> Callable[[np.ndarray], np.ndarray]:
        interpreter = interpreters.Interpreter(model_content=tapped, num_threads=1)
        interpreter.allocate_tensors()
        place, tap = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[-1]["index"]

        def features(face: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(place, face)
            interpreter.invoke()
            return interpreter.get_tensor(tap).reshape(1, -1)

        return features

    seen = np.concatenate(Spread([copy() for _ in range(torch.get_num_threads())], piece=1)(faces))
    layer = Linear(weight.reshape(len(bias), -1), bias).fitted(seen, wanted)
    for buffer, value in zip(buffers, (layer.weight, layer.bias), strict=True):
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
    return bytes(tools.convert_object_to_bytearray(model))


def asked(graph: onnx.ModelProto, name: str = LOGITS) -> Callable[[np.ndarray], np.ndarray]:
    """What a graph gives under a name, a function of faces uint8 N×H×W×C to float32 N×..., N above 0."""
    running = session(graph, threads=1)

    def ask(batch: np.ndarray) -> np.ndarray:
        return running.run([name], {INPUT: batch})[0]  # any number of threads may ask one session

    spread = Spread([ask] * torch.get_num_threads())
    return lambda faces: np.concatenate(spread(faces))


def _linear(graph: onnx.ModelProto) -> Linear:
    """The last layer of a float graph."""
    node, held = _last_gemm(graph), {tensor.name: tensor for tensor in graph.graph.initializer}
    weight, bias = (numpy_helper.to_array(held[name]) for name in node.input[1:])
    transposed = next((attribute.i for attribute in node.attribute if attribute.name == "transB"), 0)
    return Linear(weight if transposed else weight.T, bias)


def _last_gemm(model: onnx.ModelProto) -> onnx.NodeProto:
    found = [node for node in model.graph.node if node.op_type == "Gemm"]
    if not found:
        raise FerLabError(
            "the graph ends in no linear layer (Gemm), which could be fitted anew: set export.refit_faces=0"
        )
    return found[-1]


def _matmul(result: Any) -> Any:
    """The MatMul that gives the logits, behind which there are a bias and a scale at most."""
    node = result
    while node.get_type_name() != "MatMul":
        if node.get_type_name() not in ("Result", "Add", "Multiply"):
            raise FerLabError(f"no linear layer gives the logits but {node.get_type_name()}: set export.refit_faces=0")
        node = node.input_value(0).get_node()
    return node
