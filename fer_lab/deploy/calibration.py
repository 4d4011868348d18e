"""A calibration as nodes of an ONNX graph, in float32 and with operators that every runtime has."""

import numpy as np
import onnx

from fer_lab.evaluation.calibration import Calibration

LOGITS, PROBABILITIES = "logits", "probabilities"


def append_calibration(graph: onnx.GraphProto, calibration: Calibration) -> None:
    """Add the nodes from `logits` (float32 N×K) to `probabilities` (float32 N×K), which differ from
    `calibration.probabilities` by less than 1e-5."""
    parameters = calibration.parameters
    if "x" in parameters:
        _isotonic(graph, parameters["x"], parameters["y"])
        return
    if calibration.temperature is not None:
        _constant(graph, "temperature", [calibration.temperature])
        _node(graph, "Div", [LOGITS, "temperature"], "scaled_logits")
    else:
        _constant(graph, "calibration_scale", parameters["scale"])
        _constant(graph, "calibration_bias", parameters["bias"])
        _node(graph, "Mul", [LOGITS, "calibration_scale"], "stretched_logits")
        _node(graph, "Add", ["stretched_logits", "calibration_bias"], "scaled_logits")
    _node(graph, "Softmax", ["scaled_logits"], PROBABILITIES, axis=-1)


def _isotonic(graph: onnx.GraphProto, knots_x: list[list[float]], knots_y: list[list[float]]) -> None:
    """A piecewise linear function of each class is its first value and a clamped ramp from each knot to the next:

    f(p) = y_0 + Σ_i s_i · min(max(p - x_i, 0), w_i), width w_i = x_{i+1} - x_i and slope s_i = (y_{i+1} - y_i) / w_i;
    classes with fewer knots get ramps of width and slope 0.
    """
    ramps = max(max(map(len, knots_x)) - 1, 1)
    start, width, slope = np.zeros((3, len(knots_x), ramps))
    for k, (x, y) in enumerate(zip(knots_x, knots_y, strict=True)):
        n = len(x) - 1
        start[k, :n], width[k, :n] = x[:-1], np.diff(x)
        slope[k, :n] = np.diff(y) / np.diff(x)
    for name, values in (("start", start), ("width", width), ("slope", slope), ("floor", [y[0] for y in knots_y])):
        _constant(graph, f"calibration_{name}", values)
    _constant(graph, "calibration_zero", [0.0])
    _constant(graph, "calibration_last", [-1], np.int64)
    _node(graph, "Softmax", [LOGITS], "raw_probabilities", axis=-1)
    _node(graph, "Unsqueeze", ["raw_probabilities", "calibration_last"], "raw_column")  # N×K×1 against K×ramps
    _node(graph, "Sub", ["raw_column", "calibration_start"], "beyond_knot")
    _node(graph, "Max", ["beyond_knot", "calibration_zero"], "ramp_from_below")
    _node(graph, "Min", ["ramp_from_below", "calibration_width"], "ramp")
    _node(graph, "Mul", ["ramp", "calibration_slope"], "rise")
    # As a product: OpenVINO 2026.4 answers NaN for a ReduceSum whose result is added to and summed again.
    _constant(graph, "calibration_ones", np.ones(ramps))
    _node(graph, "MatMul", ["rise", "calibration_ones"], "rises")
    _node(graph, "Add", ["rises", "calibration_floor"], "class_probabilities")
    _node(graph, "ReduceSum", ["class_probabilities", "calibration_last"], "class_sum", keepdims=1)
    _node(graph, "Div", ["class_probabilities", "class_sum"], PROBABILITIES)


def _constant(graph: onnx.GraphProto, name: str, values: object, dtype: type = np.float32) -> None:
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values, dtype), name))


def _node(graph: onnx.GraphProto, kind: str, inputs: list[str], output: str, **attributes: int) -> None:
    graph.node.append(onnx.helper.make_node(kind, inputs, [output], output, **attributes))
