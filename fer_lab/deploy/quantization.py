"""INT8 after training: ONNX Runtime's static quantisation (QDQ nodes), its ranges measured on training faces."""

import io
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.progress import Progress

from fer_lab.deploy.bias_correction import correct_bias
from fer_lab.deploy.equalization import equalize
from fer_lab.deploy.onnx import INPUT
from fer_lab.errors import FerLabError

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}
BATCH = 16  # faces per calibration step: the histogram methods hold every activation of a step in memory


def draw_balanced(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices (int64) of `count` samples, as evenly over the classes as their sizes allow, drawn by `seed`.

    labels: int64 N. A class with too few samples gives all it has and the others fill up; with N <= count, all N.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)  # a sample's place within its own class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")[:count]])


class _Faces(CalibrationDataReader):
    """Hands the quantiser one batch of uint8 faces at a time and moves a progress bar."""

    def __init__(self, faces: np.ndarray, progress: Progress):
        self.batches = [faces[start : start + BATCH] for start in range(0, len(faces), BATCH)]
        self.progress, self.task = progress, progress.add_task("calibrating INT8", total=len(self.batches))
        self.pending: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.batches)

    def set_range(self, start_index: int, end_index: int) -> None:
        self.pending = self.batches[start_index:end_index]

    def get_next(self) -> dict[str, np.ndarray] | None:
        if not self.pending:
            return None
        self.progress.advance(self.task)
        return {INPUT: np.ascontiguousarray(self.pending.pop(0))}


@dataclass(frozen=True)
class StaticInt8:
    """The choices of one INT8 file (conf/quantization/*.yaml).

    calibration_faces: how many training faces the activation ranges are measured on, drawn evenly over the classes.
    calibration: minmax, entropy or percentile. activation, weight: uint8 or int8; x86 multiplies uint8 x int8 fastest.
    per_channel: one weight scale per output channel. reduce_range: 7-bit weights, so that sums of two products fit
    16 bits: x86 without VNNI cuts off larger ones, and would answer otherwise than other processors.
    op_types: operators to quantise, null for all that ONNX Runtime can. float_nodes: regular expressions; operators and
    nodes whose operator or name one of them matches from the start stay float.
    float_stem: leave the first convolution float: dead channels of pretrained stems, whose BatchNorm scales them up a
    hundredfold, lose everything in 8 bits. bias_correction: see fer_lab.deploy.bias_correction. equalization: see
    fer_lab.deploy.equalization.
    Source of the scheme: Jacob et al. 2018, x_q = round(x / s) + z.
    """

    calibration_faces: int = 128
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    activation: Literal["uint8", "int8"] = "uint8"
    weight: Literal["uint8", "int8"] = "int8"
    per_channel: bool = True
    reduce_range: bool = True
    op_types: list[str] | None = None
    float_stem: bool = True
    bias_correction: bool = True
    float_nodes: list[str] | None = None
    equalization: bool = False

    def __post_init__(self) -> None:
        for name, known in (("calibration", METHODS), ("activation", TYPES), ("weight", TYPES)):
            if getattr(self, name) not in known:
                raise FerLabError(f"quantization.{name}={getattr(self, name)} is unknown: choose {', '.join(known)}")
        if self.calibration_faces < 1:
            raise FerLabError("quantization.calibration_faces must be at least 1: ranges are measured on faces")
        check_patterns("quantization.float_nodes", self.float_nodes or ())
        unknown = [name for name in self.op_types or () if not onnx.defs.has(name)]
        if unknown:
            raise FerLabError(
                f"quantization.op_types: ONNX has no operator {unknown[0]}: give names such as Conv, Gemm"
            )

    def quantize(self, graph: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
        """The INT8 version of `graph` (faces -> logits); `faces`: uint8 N×H×W×C training faces, native size.

        Preprocessing stays float, so that faces are rounded once at most. So do the logits: a temperature is fitted
        on them next.
        """
        console = Console(stderr=True)
        with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress, _quiet():
            raw, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("raw", "prepared", "quantized"))
            onnx.save(equalize(graph) if self.equalization else graph, raw)
            # Its optimiser is left out: it would break HardSwish up, and the graph comes optimised from the exporter.
            quant_pre_process(raw, prepared, skip_optimization=True)
            reference = onnx.load(prepared)
            # A BatchNormalization that no convolution took up (a head's) has no integer kernel.
            unfolded = [node.name for node in reference.graph.node if node.op_type == "BatchNormalization"]
            float_nodes = preprocessing_nodes(reference) + unfolded + self._kept_float(reference)
            if self.float_stem:
                float_nodes.append(first_convolution(reference).name)
            quantize_static(
                prepared,
                quantized,
                _Faces(faces, progress),
                op_types_to_quantize=list(self.op_types or ()),
                per_channel=self.per_channel,
                reduce_range=self.reduce_range,
                activation_type=TYPES[self.activation],
                weight_type=TYPES[self.weight],
                nodes_to_exclude=float_nodes,
                calibrate_method=METHODS[self.calibration],
                extra_options={"CalibStridedMinMax": 1},
            )
            result = float_logits(onnx.load(quantized))
        return correct_bias(result, reference, faces) if self.bias_correction else result

    def _kept_float(self, model: onnx.ModelProto) -> list[str]:
        patterns = [re.compile(pattern) for pattern in self.float_nodes or ()]
        return [n.name for n in model.graph.node if any(p.match(n.op_type) or p.match(n.name) for p in patterns)]


def check_patterns(key: str, patterns: Iterable[str]) -> None:
    """Raise FerLabError for the first that is no regular expression."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise FerLabError(f"{key}: {pattern} is no regular expression: {error}") from None


def float_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take out the pair of QuantizeLinear and DequantizeLinear in front of an output. In place; returns the model.

    Only of outputs: a hidden layer's Gemm needs its pair, without it ONNX Runtime widens its weights at every call.
    """
    nodes = model.graph.node
    producers = {output: node for node in nodes for output in node.output}
    for output in model.graph.output:
        last = producers.get(output.name)
        rounding = producers.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
        if last is not None and rounding is not None and rounding.op_type == "QuantizeLinear":
            producers[rounding.input[0]].output[0] = output.name
            nodes.remove(last)
            nodes.remove(rounding)
    return model


def first_convolution(model: onnx.ModelProto) -> onnx.NodeProto:
    """The backbone's stem."""
    return next(node for node in model.graph.node if node.op_type == "Conv")


def preprocessing_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes between the faces and the first convolution (cast, resize, scale, normalise)."""
    producers = {output: node for node in model.graph.node for output in node.output}
    pending, names = [first_convolution(model).input[0]], []
    while pending:
        node = producers.get(pending.pop())
        if node is not None and node.name not in names:
            names.append(node.name)
            pending.extend(node.input)
    return names


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser prints its progress and warns on the root logger about every tensor it decides to skip."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def no_quantization() -> None:
    """FP32 only."""
