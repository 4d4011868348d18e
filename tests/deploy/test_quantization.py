"""INT8: a smaller file that mostly agrees, float where it must be, biases freed of the weights' rounding."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from fer_lab.deploy.bias_correction import correct_bias
from fer_lab.deploy.onnx import save
from fer_lab.deploy.parity import parity
from fer_lab.deploy.quantization import StaticInt8, draw_balanced, first_convolution, preprocessing_nodes
from fer_lab.deploy.rewrite import slim
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


def test_a_slim_file_gives_the_same_answers_on_as_many_integers(int8_graph, metadata, faces, tmp_path) -> None:
    """What ONNX Runtime makes of it when it loads it: no convolution that was integer is float."""
    slimmed = slim(int8_graph)
    files = [save(graph, metadata, tmp_path / f"{i}.onnx") for i, graph in enumerate((int8_graph, slimmed))]
    answers = [Classifier.load(file).logits(faces[:32]) for file in files]
    assert np.abs(answers[1] - answers[0]).max() < 1e-5
    kinds = []
    for i, file in enumerate(files):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(tmp_path / f"loaded{i}.onnx"), 3
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        kinds.append([node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node])
    assert sorted(kinds[1]) == sorted(kinds[0])
    assert kinds[0].count("QLinearConv") > 5
    assert "QGemm" in kinds[0]
    assert files[1].stat().st_size < 0.85 * files[0].stat().st_size
    assert max(len(name) for node in slimmed.graph.node for name in node.output if name != "logits") < 6


def test_integers_answer_alike_on_processors_with_and_without_vnni(int8_graph, int8_file, faces) -> None:
    """Two products of a byte and a weight must fit 16 bits, where older x86 adds them up: 2 × 255 × 64 < 2^15.
    Without its optimisers ONNX Runtime computes the same file in floats, where nothing is cut off."""
    for tensor in int8_graph.graph.initializer:
        if tensor.data_type == TensorProto.INT8 and tensor.name.endswith("_quantized"):
            assert np.abs(numpy_helper.to_array(tensor).astype(int)).max() <= 64, tensor.name
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    in_floats = onnxruntime.InferenceSession(int8_file, options, providers=["CPUExecutionProvider"])
    exact = in_floats.run(["logits"], {"faces": faces})[0]
    found = Classifier.load(int8_file).logits(faces)
    assert (found.argmax(1) == exact.argmax(1)).mean() > 0.97
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.06 * exact.std()


def test_zero_points_that_are_not_zero_stay() -> None:
    scale, zero, stored = np.float32(0.5), np.int8(3), np.array([4, 5], np.int8).reshape(2, 1, 1, 1)
    held = {"w": stored, "s": scale, "z": zero}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["weight"]),
        helper.make_node("Conv", ["x", "weight"], ["y"]),
    ]
    given, found = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k, 1, 1]) for n, k in (("x", 1), ("y", 2)))
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [given], [found], tensors),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    running = onnxruntime.InferenceSession(slim(model).SerializeToString(), providers=["CPUExecutionProvider"])
    assert running.run(None, {"x": np.ones((1, 1, 1, 1), np.float32)})[0].ravel().tolist() == [0.5, 1.0]


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
