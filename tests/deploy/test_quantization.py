"""INT8: a smaller file that mostly agrees, float where it must be, biases freed of the weights' rounding."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_lab.deploy.bias_correction import correct_bias
from fer_lab.deploy.onnx import save
from fer_lab.deploy.parity import parity
from fer_lab.deploy.quantization import StaticInt8, draw_balanced, first_convolution, preprocessing_nodes
from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
from fer_lab.schema import build, compose


def test_int8_mostly_agrees(fp32_file, int8_file, faces) -> None:
    held_out = faces[128:]
    measured = parity(
        Classifier.load(fp32_file).probabilities(held_out), Classifier.load(int8_file).probabilities(held_out)
    )
    assert measured["top1"] > 0.95
    assert measured["mean"] < 0.03


def test_preprocessing_stem_and_logits_stay_float(graph, int8_graph: onnx.ModelProto) -> None:
    quantized = {out for node in int8_graph.graph.node if node.op_type == "DequantizeLinear" for out in node.output}
    stem = first_convolution(graph).name
    before = {*preprocessing_nodes(graph)}
    kinds = {node.op_type for node in graph.graph.node if node.name in before}
    assert {"Cast", "Resize", "Sub", "Div"} <= kinds
    assert "Conv" not in kinds
    for node in int8_graph.graph.node:
        if node.name in before or node.name == stem:
            assert not quantized & {*node.input}, node.name
    convolutions = [node for node in int8_graph.graph.node if node.op_type == "Conv" and node.name != stem]
    assert convolutions
    assert all({*node.input} <= quantized for node in convolutions)
    gemm = next(node for node in int8_graph.graph.node if node.op_type == "Gemm")
    assert gemm.output[0] == "logits"


def test_operators_to_quantise_come_from_the_config(graph, faces) -> None:
    quantizer = build(compose("export", ["quantization.op_types=[Gemm]"]).quantization)
    quantized = quantizer.quantize(graph, faces[:16])
    weights = {node.op_type: node.input[1] for node in quantized.graph.node if node.op_type in ("Conv", "Gemm")}
    assert weights["Gemm"].endswith("_DequantizeLinear_Output")
    assert not weights["Conv"].endswith("_DequantizeLinear_Output")


def test_bias_correction_takes_the_mean_error_away(graph, fp32_file, metadata, int8_file, faces, tmp_path) -> None:
    plain = save(StaticInt8(bias_correction=False).quantize(graph, faces[:128]), metadata, tmp_path / "plain.onnx")
    expected = Classifier.load(fp32_file).logits(faces)
    shift = [np.abs((Classifier.load(p).logits(faces) - expected).mean(axis=0)).max() for p in (plain, int8_file)]
    assert shift[1] < shift[0]


def test_bias_correction_hand_worked() -> None:
    """x is 2 on average; the weight .5 was rounded to 4 x .15 = .6, so the output moved by .2 = 20 steps of .01."""

    def model(weight: str, bias: str, nodes: list, tensors: list) -> onnx.ModelProto:
        body = [
            helper.make_node("Cast", ["faces"], ["x"], "cast", to=TensorProto.FLOAT),
            *nodes,
            helper.make_node("Conv", ["x", weight, bias], ["logits"], "conv"),
        ]
        faces = helper.make_tensor_value_info("faces", TensorProto.UINT8, ["n", 1, 1, 1])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1, 1, 1])
        graph = helper.make_graph(body, "g", [faces], [logits], [numpy_helper.from_array(v, k) for k, v in tensors])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    f, one = np.float32, (1, 1, 1, 1)
    reference = model("w", "b", [], [("w", np.full(one, 0.5, f)), ("b", np.array([1], f))])
    dequantize = [
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["w_"], "dw", axis=0),
        helper.make_node("DequantizeLinear", ["bq", "bs", "bz"], ["b_"], "db", axis=0),
    ]
    tensors = [
        ("wq", np.full(one, 4, np.int8)), ("ws", np.array([0.15], f)), ("wz", np.array([0], np.int8)),
        ("bq", np.array([100], np.int32)), ("bs", np.array([0.01], f)), ("bz", np.array([0], np.int32)),
    ]  # fmt: skip
    faces = np.array([1, 3], np.uint8).reshape(2, 1, 1, 1)
    corrected = correct_bias(model("w_", "b_", dequantize, tensors), reference, faces)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in corrected.graph.initializer}
    assert values["bq"].tolist() == [80]


def test_draw_is_balanced_and_seeded() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2] * 50)
    drawn = draw_balanced(labels, 23, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [10, 3, 10]  # the rare class gives all it has
    assert len({*drawn}) == 23
    assert np.array_equal(drawn, draw_balanced(labels, 23, seed=0))
    assert not np.array_equal(drawn, draw_balanced(labels, 23, seed=1))
    assert np.array_equal(draw_balanced(labels, 500, seed=0), np.arange(103))


@pytest.mark.parametrize("change", [{"calibration": "max"}, {"activation": "int4"}, {"calibration_faces": 0}])
def test_unknown_choice_is_refused(change: dict) -> None:
    with pytest.raises(FerLabError, match=f"quantization.{next(iter(change))}"):
        replace(StaticInt8(), **change)
