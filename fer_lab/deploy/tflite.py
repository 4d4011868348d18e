"""LiteRT (TFLite): one .tflite in float, dynamic-range or full INT8, and the runtime that opens it.

litert-torch converts, ai-edge-quantizer quantises, ai-edge-litert runs. Opening a file needs only the last, no torch.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fer_lab.deploy.metadata import KEY, ModelMetadata
from fer_lab.deploy.runtimes import Classifier
from fer_lab.deploy.safe import seal
from fer_lab.errors import FerLabError
from fer_lab.extras import optional

if TYPE_CHECKING:
    from torch import nn

Precision = Literal["float", "dynamic", "int8"]
INPUT, LOGITS, PROBABILITIES, SIGNATURE = "faces", "logits", "probabilities", "serving_default"
#: Regular expressions of tensor names (module paths, and the outputs' own): faces are rounded once at most, and the
#: logits are what a calibration is fitted on.
CORRECTING = 64  # faces at most, on which mean inputs are measured for bias correction
FLOAT_SCOPES = ("Preprocess", "RawPixels", "CalibratedSoftmax", f"{SIGNATURE}_{LOGITS}", f"{SIGNATURE}_{PROBABILITIES}")


class TfLiteClassifier(Classifier):
    """A .tflite file on the CPU, with XNNPACK."""

    runtime = "litert"

    def __init__(self, interpreter: Any, metadata: ModelMetadata):
        """interpreter: of a graph of one face, allocated."""
        self.interpreter, self.metadata = interpreter, metadata
        runner = interpreter.get_signature_runner(SIGNATURE)
        self.input = runner.get_input_details()[INPUT]["index"]
        details = runner.get_output_details()
        self.outputs = details[LOGITS]["index"], details[PROBABILITIES]["index"]

    @classmethod
    def open(cls, path: Path, threads: int) -> "TfLiteClassifier":
        """Of an exported file."""
        module = optional("ai_edge_litert.interpreter", "tflite")
        content = path.read_bytes()
        try:
            metadata = ModelMetadata.from_json(_said(content, path), path)
            interpreter = module.Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
            runner = interpreter.get_signature_runner(SIGNATURE)
            details = {**runner.get_input_details(), **runner.get_output_details()}
            metadata.require_interface({name: each["shape"].tolist() for name, each in details.items()}, path)
        except FerLabError:
            raise
        except Exception as error:  # flatbuffers and LiteRT raise whatever comes: struct.error, RuntimeError, KeyError
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FerLabError(f"{path} is no readable TFLite model ({reason[:200]}): export it again") from error
        return cls(interpreter, metadata)

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One face after the other: XNNPACK gains nothing from a batch, and planning for another size costs."""
        answers = np.empty((2, len(faces), len(self.class_names)), np.float32)
        for i in range(len(faces)):
            self.interpreter.set_tensor(self.input, faces[i : i + 1])
            self.interpreter.invoke()
            for answer, index in zip(answers, self.outputs, strict=True):
                answer[i] = self.interpreter.get_tensor(index)[0]
        return answers[0], answers[1]


def _said(content: bytes, source: object) -> str | None:
    """Our entry of a flatbuffer's metadata."""
    schema = optional("ai_edge_litert.schema_py_generated", "tflite")
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise FerLabError(f"{source} is no flatbuffer of TFLite: export it again")
    model = schema.Model.GetRootAs(content, 0)
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == KEY.encode():
            return model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode()
    return None


def convert(network: "nn.Module", metadata: ModelMetadata) -> bytes:
    """The float flatbuffer of uint8 faces 1×H×W×C -> logits, probabilities; takes seconds to a minute.

    network: takes uint8 N×H×W×C, gives logits float32 N×K. metadata: its calibration's kind counts; a temperature, or
    scale and bias, are filled in by `write`.
    """
    import torch

    with _quiet():
        litert_torch = optional("litert_torch", "tflite")
        from fer_lab.deploy.exported import Exported, for_tracing

        whole = Exported(for_tracing(network, metadata.face_shape), stand_in(metadata.calibration))
        face = torch.zeros((1, *metadata.face_shape), dtype=torch.uint8)
        return litert_torch.convert(whole.eval(), sample_kwargs={INPUT: face}).model_content()


def stand_in(calibration: Mapping[str, Any]) -> dict[str, Any]:
    """A calibration of the same kind that no converter simplifies, and whose numbers no other constant shares: `write`
    fills in what was fitted. An isotonic one stands for itself, as its knots are spread over several constants.

    calibration: as `Calibration.to_dict` gives it.
    """
    odd: dict[str, Any] = {"temperature": 1.61803}
    if "scale" in calibration:
        odd = {name: list(len(name) + np.arange(len(calibration[name])) / 7) for name in ("scale", "bias")}
    return dict(calibration) if "x" in calibration else odd


def _calibrate(model: Any, calibration: Mapping[str, Any], schema: Any) -> None:
    """Fill in a calibration, in place: the constants of the operators between the logits and the softmax."""
    if "x" in calibration:
        return
    names = ("scale", "bias") if "scale" in calibration else ("temperature",)
    values = [1 / calibration[name] if name == "temperature" else calibration[name] for name in names]
    graph = model.subgraphs[0]
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    outputs = model.signatureDefs[0].outputs
    place = next(output.tensorIndex for output in outputs if output.name in (LOGITS, LOGITS.encode()))
    steps: list[Any] = []
    while not steps or kinds[steps[-1].opcodeIndex] in (schema.BuiltinOperator.MUL, schema.BuiltinOperator.ADD):
        steps.append(next(operator for operator in graph.operators if place in operator.inputs))
        place = steps[-1].outputs[0]
    if len(steps) != len(values) + 1:
        raise FerLabError(f"the graph was not converted for a calibration with {' and '.join(names)}: convert it again")
    for step, value in zip(steps, values, strict=False):
        given = (graph.tensors[index] for index in step.inputs)
        constant = next(tensor for tensor in given if model.buffers[tensor.buffer].data is not None)
        filled = np.broadcast_to(np.asarray(value, np.float32), constant.shape)
        model.buffers[constant.buffer].data = np.frombuffer(filled.tobytes(), np.uint8)


def quantize(
    content: bytes,
    precision: Precision,
    faces: np.ndarray | None = None,
    float_scopes: Sequence[str] = (),
    float_types: Sequence[str] = (),
    bias_correction: bool = True,
) -> bytes:
    """A float flatbuffer with INT8 weights.

    Args:
        content: from `convert`. precision: "dynamic": weights INT8, activations are rounded while it runs, no faces
            needed; "int8": both, activation ranges (minimum and maximum) measured on `faces`; input stays uint8.
        faces: uint8 N×H×W×C training faces, native size.
        float_scopes: regular expressions of tensor names, which hold the path of their module, whose operators stay
            float beside FLOAT_SCOPES. float_types: operators that stay float, such as "HARD_SWISH" or "MUL".
        bias_correction: of "int8", see `fer_lab.deploy.tflite_bias`.
    """
    if precision not in get_args(Precision):
        raise FerLabError(f"precision={precision} is unknown to TFLite: choose {', '.join(get_args(Precision))}")
    if precision == "float":
        return content
    if precision == "int8" and (faces is None or not len(faces)):
        raise FerLabError("a full INT8 .tflite needs calibration faces: ranges are measured on them")
    from fer_lab.deploy.tflite_bias import correct_bias, lift_weights  # torch, which reading a file does without

    if precision == "int8":
        content = lift_weights(content)
    with _quiet():
        quantizer = optional("ai_edge_quantizer.quantizer", "tflite")
        recipe = optional("ai_edge_quantizer.recipe", "tflite")
        chosen = recipe.dynamic_wi8_afp32() if precision == "dynamic" else recipe.static_wi8_ai8()
        work = quantizer.Quantizer(bytearray(content), chosen)
        for scope in (*FLOAT_SCOPES, *float_scopes):
            work.update_quantization_recipe(scope, "*", None, "no_quantize")
        for kind in (*float_types, "INPUT", "OUTPUT"):
            work.update_quantization_recipe(".*", quantizer.qtyping.TFLOperationName(kind), None, "no_quantize")
        ranges = None
        if precision == "int8":
            assert faces is not None
            steps = [{INPUT: np.ascontiguousarray(faces[i : i + 1])} for i in range(len(faces))]
            ranges = work.calibrate({SIGNATURE: steps}, num_threads=1)
        done = work.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        quantized = bytes(done.quantized_model)
        if precision == "int8" and bias_correction:
            assert faces is not None
            return correct_bias(quantized, content, faces[:: -(-len(faces) // CORRECTING)])
        return quantized


def read(content: bytes) -> Any:
    """A flatbuffer as Python objects. Its data are arrays: what is none is packed again byte by byte, in seconds."""
    tools = optional("ai_edge_litert.tools.flatbuffer_utils", "tflite")
    model = tools.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def write(content: bytes, metadata: ModelMetadata, path: Path, named: bool = True) -> Path:
    """Write a flatbuffer of `convert` with `metadata` inside and its calibration in the graph, sealed.

    named: inner tensors keep their names, a twelfth of a small INT8 file; inputs and outputs always do.

    Raises:
        FerLabError: the flatbuffer was converted for another kind of calibration.
    """
    import flatbuffers

    schema = optional("ai_edge_litert.schema_py_generated", "tflite")
    zeros: dict[int, int] = {}

    class Builder(flatbuffers.Builder):
        def StartVector(self, size: int, count: int, alignment: int) -> int:
            return super().StartVector(size, count, 16 if size == 1 else alignment)  # as the schema asks of buffers

        def CreateNumpyVector(self, values: np.ndarray) -> int:
            if values.any() or values.dtype != np.int64:
                return super().CreateNumpyVector(values)
            if len(values) not in zeros:  # zero points of weights, eight bytes a channel: those of as many are one
                zeros[len(values)] = super().CreateNumpyVector(values)
            return zeros[len(values)]

    model = read(content)
    said = np.frombuffer(metadata.to_json().encode(), np.uint8)
    model.metadata = model.metadata or []
    written = next((entry for entry in model.metadata if entry.name in (KEY, KEY.encode())), None)
    if written:
        model.buffers[written.buffer].data = said
    else:
        model.metadata.append(schema.MetadataT(KEY, len(model.buffers)))
        model.buffers.append(schema.BufferT(said))
    _calibrate(model, metadata.calibration, schema)
    for graph in () if named else model.subgraphs:
        for index in {*range(len(graph.tensors))} - {*graph.inputs, *graph.outputs}:
            graph.tensors[index].name = b""
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.Output())
    return seal(path)


def save_tflite(
    network: "nn.Module",
    metadata: ModelMetadata,
    path: Path,
    precision: Precision = "float",
    calibration_faces: np.ndarray | None = None,
    **kept: Any,
) -> Path:
    """Convert, quantise and write; see `convert`, `quantize` (`kept` are its other arguments) and `write`."""
    return write(quantize(convert(network, metadata), precision, calibration_faces, **kept), metadata, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """The converter and the quantiser tell their progress, on three channels."""
    os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
