"""OpenVINO: an .xml with its .bin, in float, half-size float or INT8 through NNCF, and the runtime that opens them."""

import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fer_lab.deploy.metadata import KEY, ModelMetadata
from fer_lab.deploy.runtimes import BATCH, Classifier
from fer_lab.deploy.safe import seal
from fer_lab.deploy.signal_stack import signal_stack_kept
from fer_lab.errors import FerLabError
from fer_lab.extras import optional

if TYPE_CHECKING:
    import onnx
    from openvino import Model

Precision = Literal["f32", "bf16"]
PRECISION = f"{KEY}_precision"  # the arithmetic a file asks for, beside its metadata under KEY
INPUT, LOGITS, PROBABILITIES = "faces", "logits", "probabilities"


class OpenVinoClassifier(Classifier):
    """An .xml file on the CPU, compiled for least latency."""

    runtime = "openvino"

    def __init__(self, model: "Model", metadata: ModelMetadata, threads: int, precision: Precision):
        """model: faces -> probabilities, logits, of any batch. precision: of its arithmetic where it is float."""
        self.model, self.metadata = model, metadata
        self.settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core while others are free: 2.7 ms for 0.3
        }
        self.requests: dict[int, Any] = {}

    @classmethod
    def open(cls, path: Path, threads: int, precision: Precision | None = None) -> "OpenVinoClassifier":
        """Of an exported file. precision: f32 or bf16, in place of what the file asks for."""
        openvino = _openvino()
        try:
            model = openvino.Core().read_model(path)
            said = {key: model.get_rt_info([key]).astype(str) for key in (KEY, PRECISION) if model.has_rt_info([key])}
            metadata = ModelMetadata.from_json(said.get(KEY), path)
            tensors = [(name, tensor) for tensor in (*model.inputs, *model.outputs) for name in tensor.names]
            shapes = {n: [d.to_string() if d.is_dynamic else len(d) for d in t.partial_shape] for n, t in tensors}
            metadata.require_interface(shapes, path)
            classifier = cls(model, metadata, threads, precision or _precision(said.get(PRECISION, "f32")))
            classifier.request(1)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [""])[-1]
            raise FerLabError(f"{path} is no readable OpenVINO model ({reason[:200]}): export it again") from error
        return classifier

    def request(self, batch: int) -> Any:
        """The request that answers `batch` faces: of a graph of that batch for 1 and BATCH, else of the free one.

        A known batch spares OpenVINO the shape inference of each call.
        """
        import openvino

        size = batch if batch in (1, BATCH) else 0
        if size not in self.requests:
            model = self.model
            if size:
                model = model.clone()
                model.reshape({INPUT: openvino.PartialShape([size, *self.metadata.face_shape])})
            with signal_stack_kept():
                self.requests[size] = openvino.Core().compile_model(model, "CPU", self.settings).create_infer_request()
        return self.requests[size]

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answer = self.request(len(faces)).infer({INPUT: faces})
        return answer[LOGITS], answer[PROBABILITIES]


def _openvino() -> Any:
    """The module. Its plugin frees with glibc what a preloaded jemalloc gave, and the process would abort.

    Raises FerLabError where it is not installed, or jemalloc is preloaded.
    """
    if "jemalloc" in os.environ.get("LD_PRELOAD", ""):
        raise FerLabError("OpenVINO does not run under jemalloc: leave LD_PRELOAD out here, it is for training only")
    return optional("openvino", "openvino")


def _precision(name: str) -> Precision:
    if name not in ("f32", "bf16"):
        raise FerLabError(f"precision={name} is unknown to OpenVinoClassifier: choose f32 or bf16")
    return name  # type: ignore[return-value]


def has_bf16() -> bool:
    """Whether this CPU computes in bfloat16 (AMX or AVX512-BF16); elsewhere OpenVINO, where there is one, answers in
    float32."""
    if find_spec("openvino") is None:
        return False
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def read_graph(graph: "onnx.ModelProto") -> "Model":
    """An ONNX graph (faces -> logits, or a saved file's) as an OpenVINO model."""
    import onnx

    openvino = _openvino()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        onnx.save(graph, path)
        return openvino.Core().read_model(path).clone()  # the clone holds no file open


def quantize(
    model: "Model",
    faces: np.ndarray,
    preset: Literal["performance", "mixed"] = "mixed",
    float_stem: bool = True,
    ignored_names: Sequence[str] = (),
    ignored_types: Sequence[str] = (),
    ignored_patterns: Sequence[str] = (),
    fast_bias_correction: bool = True,
) -> "Model":
    """The INT8 version of a model faces -> logits, through NNCF; preprocessing stays float.

    Weights have 7 bits, as in `fer_lab.deploy.quantization.StaticInt8` and for the same reason.

    Args:
        model: from `read_graph`; faces: uint8 N×H×W×C training faces, native size, all of which are used.
        preset: "performance" is symmetric throughout, "mixed" asymmetric for activations. float_stem: leave the first
            convolution float, see `fer_lab.deploy.quantization.StaticInt8`.
        ignored_names, ignored_types, ignored_patterns: nodes, operator types (such as "Add") and regular expressions
            of node names that stay float. fast_bias_correction: layer by layer; False is slower and more exact.
    """
    os.environ.setdefault("NNCF_CI", "1")  # no usage statistics are sent
    nncf = optional("nncf", "openvino")
    nncf.set_log_level(logging.ERROR)
    steps = [np.ascontiguousarray(faces[start : start + 1]) for start in range(len(faces))]
    stem = {_stem(model).get_friendly_name()} if float_stem else set()
    scope = nncf.IgnoredScope(
        names=sorted({*ignored_names, *preprocessing_nodes(model)} | stem),
        types=list(ignored_types),
        patterns=list(ignored_patterns),
        validate=False,
    )
    with redirect_stdout(StringIO()):
        return nncf.quantize(
            model.clone(),
            nncf.Dataset(steps, lambda face: {INPUT: face}),
            preset=nncf.QuantizationPreset(preset),
            subset_size=len(steps),
            ignored_scope=scope,
            fast_bias_correction=fast_bias_correction,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )


def preprocessing_nodes(model: "Model") -> list[str]:
    """Names of the nodes with computations between the faces and the first convolution."""
    pending, names = [_stem(model).input_value(0).get_node()], []
    while pending:
        node = pending.pop()
        name = node.get_friendly_name()
        if name not in names and node.get_type_name() not in ("Parameter", "Constant"):
            names.append(name)
            pending.extend(value.get_node() for value in node.input_values())
    return names


def _stem(model: "Model") -> Any:
    return next(node for node in model.get_ordered_ops() if node.get_type_name().endswith("Convolution"))


def save_openvino(
    graph: "onnx.ModelProto | Model",
    metadata: ModelMetadata,
    path: Path,
    precision: Precision = "f32",
    compress: bool = False,
) -> Path:
    """Write path (.xml) and its .bin, faces -> probabilities and logits, metadata in its rt_info, sealed.

    graph: faces -> logits, an ONNX graph or what `quantize` made of it. precision: the float arithmetic that the file
    asks for; bf16 is computed where `has_bf16()`. compress: weights in float16, half the size; widened when the
    file is loaded, so it is as fast.
    """
    openvino = _openvino()
    model = graph.clone() if isinstance(graph, openvino.Model) else read_graph(graph)
    model = _calibrated(model, metadata)
    model.set_rt_info(metadata.to_json(), [KEY])
    model.set_rt_info(_precision(precision), [PRECISION])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=compress)
    return seal(path)


def _calibrated(model: "Model", metadata: ModelMetadata) -> "Model":
    """`model` with the output `probabilities` before `logits`."""
    import onnx
    import openvino

    from fer_lab.deploy.calibration import append_calibration
    from fer_lab.evaluation.calibration import Calibration

    shape = ["batch", len(metadata.class_names)]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["given"], [LOGITS])],
        "calibration",
        [onnx.helper.make_tensor_value_info("given", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info(PROBABILITIES, onnx.TensorProto.FLOAT, shape)],
    )
    append_calibration(graph, Calibration.from_dict(metadata.calibration))
    opset = [onnx.helper.make_opsetid("", 18)]
    tail = read_graph(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10))
    logits = model.output(LOGITS).get_node().input_value(0)
    for user in tail.input(0).get_target_inputs():
        user.replace_source_output(logits)
    probabilities = tail.output(PROBABILITIES).get_node().input_value(0)
    joined = openvino.Model(
        [openvino.opset13.result(value) for value in (probabilities, logits)], model.get_parameters(), "fer_lab"
    )
    for output, name in zip(joined.outputs, (PROBABILITIES, LOGITS), strict=True):
        output.get_tensor().set_names({name})
    return joined
