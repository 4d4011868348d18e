"""ONNX files whose graph holds everything between a raw uint8 face and a calibrated probability."""

import copy
import warnings
from pathlib import Path

import onnx
import onnx.compose
import onnx.utils
import torch
from torch import nn

from fer_lab.deploy.calibration import LOGITS, PROBABILITIES, append_calibration
from fer_lab.deploy.exported import for_tracing
from fer_lab.deploy.metadata import KEY, ModelMetadata
from fer_lab.deploy.safe import seal
from fer_lab.evaluation.calibration import Calibration

INPUT = "faces"


def trace(network: nn.Module, face_shape: tuple[int, int, int]) -> onnx.ModelProto:
    """The network as a graph `faces` (uint8 N×H×W×C, N free) -> `logits` (float32 N×K).

    network: takes uint8 N×H×W×C, gives float32 N×K; it is copied, set to eval and exported on the CPU.
    face_shape: H, W, C of the native face. Each BatchNorm is folded into its convolution, by torch.export's optimiser
    where `for_tracing` could not.
    """
    # Two faces: torch.export specialises the graph to a batch of one if it sees a batch of one.
    example = torch.zeros((2, *face_shape), dtype=torch.uint8)
    network = for_tracing(network, face_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[INPUT],
            output_names=[LOGITS],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return _without_traces(program.model_proto)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes: they repeat the Python stack of every node, with this machine's paths."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    return model


def save(graph: onnx.ModelProto, metadata: ModelMetadata, path: Path) -> Path:
    """Write `graph` (faces -> logits) as one self-contained file with outputs `probabilities` and `logits`.

    Adds probabilities as metadata.calibration has them, the metadata under one key, and runs onnx.checker; the file is
    sealed (fer_lab.deploy.safe).
    """
    model = copy.deepcopy(graph)
    append_calibration(model.graph, Calibration.from_dict(metadata.calibration))
    logits = next(output for output in model.graph.output if output.name == LOGITS)
    probabilities = copy.deepcopy(logits)
    probabilities.name = PROBABILITIES
    model.graph.output.insert(0, probabilities)
    model.producer_name, model.producer_version = KEY, metadata.fer_lab
    onnx.helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return seal(path)


def half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """`graph` (faces -> logits) with float16 weights and arithmetic between the preprocessing and the logits.

    Faces stay uint8 and the logits float32; so does the preprocessing, which costs nothing and counts most. The file
    is half as large. ONNX Runtime has few float16 kernels for CPUs and casts around all the others: it is for GPUs.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    from fer_lab.deploy.quantization import first_convolution

    # In two parts: the converter would round to float16 between the nodes that it is told to leave in float32.
    image = first_convolution(graph).input[0]
    parts = onnx.utils.Extractor(graph)
    before, network = parts.extract_model([INPUT], [image]), parts.extract_model([image], [LOGITS])
    network = convert_float_to_float16(network, keep_io_types=True)
    OnnxModel(network).topological_sort()  # it appends its casts
    del network.graph.value_info[:]  # they repeat `image`
    kept = {f"rename_{part}": False for part in ("inputs", "outputs", "edges")}
    network = onnx.compose.add_prefix(network, "half_", **kept)  # constants that both parts use
    return onnx.compose.merge_models(before, network, io_map=[(image, image)])
