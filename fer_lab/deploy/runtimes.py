"""One way to ask any shipped file: uint8 faces in, logits and calibrated probabilities out."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fer_lab.deploy.metadata import KEY, Channels, ModelMetadata
from fer_lab.deploy.safe import is_sealed, probe
from fer_lab.errors import FerLabError

if TYPE_CHECKING:  # an exported file must run where there is no torch
    from onnxruntime import InferenceSession
    from torch import nn

    from fer_lab.evaluation.run import LoadedRun

BATCH = 64  # faces per step, so that memory does not grow with the split


class Classifier(ABC):
    """A model file ready to run; made by Classifier.load."""

    runtime: str
    metadata: ModelMetadata

    @staticmethod
    def load(
        path: str | Path, threads: int = 1, class_names: tuple[str, ...] | None = None, **options: Any
    ) -> "Classifier":
        """Open an exported file or a run.

        .onnx: ONNX Runtime. .xml, with its .bin: OpenVINO. .tflite: LiteRT. None of these needs torch. A run folder,
        its model.safetensors or a .ckpt below it: torch.

        threads: CPU threads of one call. class_names: the classes the caller relies on. options: of the runtime;
        OpenVINO: precision ("f32" or "bf16", in place of what the file says), torch: compiled (True for torch.compile).
        Raises FerLabError for a missing, damaged or unreadable file, one without metadata, and one with other classes.
        """
        path = Path(path)
        if _kind(path) not in OPENERS:
            raise FerLabError(f"{path} is no model file: give a run folder or one of *{', *'.join(OPENERS)}")
        if not path.exists():
            raise FerLabError(f"{path} does not exist: export a run with `python -m fer_lab.export run=<folder>`")
        if _kind(path) in PROBED and not is_sealed(path):
            probe(path)
        classifier = open_file(path, threads, **options)
        if class_names is not None:
            classifier.metadata.require_classes(class_names, path)
        return classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.metadata.class_names

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Uncalibrated logits, float32 N×K, of uint8 faces N×H×W×C. Raises FerLabError for any other faces."""
        return self.answers(faces)[0]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float32 N×K, rows summing to 1. Raises FerLabError for faces of another kind."""
        return self.answers(faces)[1]

    def answers(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities, each face being asked about once."""
        self._check(faces)
        if not len(faces):
            return np.empty((0, len(self.class_names)), np.float32), np.empty((0, len(self.class_names)), np.float32)
        starts = range(0, len(faces), BATCH)
        parts = [self.run(np.ascontiguousarray(faces[start : start + BATCH])) for start in starts]
        if len(parts) == 1:  # no copy on the live pipeline's path
            return parts[0]
        logits, probabilities = zip(*parts, strict=True)
        return np.concatenate(logits), np.concatenate(probabilities)

    @abstractmethod
    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities of one contiguous batch that was already checked."""

    def _check(self, faces: np.ndarray) -> None:
        shape = self.metadata.face_shape
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != shape:
            wanted = "×".join(map(str, shape))
            raise FerLabError(
                f"faces are {faces.dtype} {'×'.join(map(str, faces.shape))} but this model takes uint8 N×{wanted} "
                f"({self.metadata.channels}): crop, convert and resize them to that first"
            )


class OnnxClassifier(Classifier):
    """An exported file in ONNX Runtime on the CPU."""

    runtime = "onnxruntime"

    def __init__(self, session: "InferenceSession", metadata: ModelMetadata):
        self.session, self.metadata = session, metadata

    @classmethod
    def open(cls, path: Path, threads: int) -> "OnnxClassifier":
        """Of an exported file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            reason = str(error).splitlines()[0]
            raise FerLabError(f"{path} is no readable ONNX model ({reason}): export it again") from error
        metadata = ModelMetadata.from_json(session.get_modelmeta().custom_metadata_map.get(KEY), path)
        tensors = (*session.get_inputs(), *session.get_outputs())
        metadata.require_interface({tensor.name: tensor.shape for tensor in tensors}, path)
        return cls(session, metadata)

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = self.session.run(["logits", "probabilities"], {"faces": faces})
        return logits, probabilities


class TorchClassifier(Classifier):
    """A run's own network: the reference every exported file is compared with, eager or through torch.compile."""

    def __init__(self, network: "nn.Module", metadata: ModelMetadata, threads: int, compiled: bool = False):
        """network: uint8 N×H×W×C -> logits float32 N×K. compiled: the first call of each batch size takes minutes."""
        from fer_lab.evaluation.calibration import Calibration

        self.network, self.metadata, self.threads = network.eval(), metadata, threads
        self.calibration = Calibration.from_dict(metadata.calibration)
        self.runtime = "torch_compile" if compiled else "torch"
        self.forward = _compiled(self.network) if compiled else self.network

    @classmethod
    def open(cls, path: Path, threads: int, compiled: bool = False) -> "TorchClassifier":
        """Of a run folder, its model.safetensors, or a Lightning checkpoint below it."""
        from fer_lab.evaluation.run import load_run

        folder = path if path.is_dir() else path.parent
        if path.suffix == ".ckpt":
            folder = next((above for above in path.resolve().parents if (above / "record.json").exists()), folder)
            if not (folder / "record.json").exists():
                raise FerLabError(
                    f"{path} lies in no run's folder, so its class order and preprocessing are unknown: "
                    "put it under checkpoints/ of the run it came from, or export that run"
                )
        run = load_run(folder)
        if path.suffix == ".ckpt":
            from fer_lab.deploy.checkpoint import load_weights

            load_weights(run.network, path)
        return cls(run.network, describe(run), threads, compiled)

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        before = torch.get_num_threads()
        if before != self.threads:  # a global of torch, so it is put back
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                logits = self.forward(torch.tensor(faces)).float().numpy()
        finally:
            if before != self.threads:
                torch.set_num_threads(before)
        return logits, self.calibration.probabilities(logits).astype(np.float32)


def _compiled(network: "nn.Module") -> "Callable[..., Any]":
    """torch.compile with constants folded; raises FerLabError where there is no C++ compiler."""
    import shutil

    import torch

    if not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")):
        raise FerLabError("torch.compile needs a C++ compiler: install g++, or leave torch_compile out")
    return torch.compile(network, dynamic=False, options={"freezing": True})


#: Module and class that open a file; imported when such a file is opened.
OPENERS = {
    ".onnx": ("fer_lab.deploy.runtimes", "OnnxClassifier"),
    ".xml": ("fer_lab.deploy.openvino", "OpenVinoClassifier"),
    ".tflite": ("fer_lab.deploy.tflite", "TfLiteClassifier"),
    ".safetensors": ("fer_lab.deploy.runtimes", "TorchClassifier"),
    ".ckpt": ("fer_lab.deploy.runtimes", "TorchClassifier"),
}
PROBED = (".onnx", ".xml", ".tflite")  # opened by C++ that trusts what it reads


def open_file(path: Path, threads: int, **options: Any) -> Classifier:
    """Hand an existing file to its runtime as it is; `Classifier.load` makes sure first that this is safe."""
    module, name = OPENERS[_kind(path)]
    return getattr(import_module(module), name).open(path, threads, **options)


def _kind(path: Path) -> str:
    return ".safetensors" if path.is_dir() else path.suffix


def describe(run: "LoadedRun") -> ModelMetadata:
    """The metadata of a finished run."""
    record = run.record
    return ModelMetadata(
        class_names=tuple(run.class_names),
        channels=cast(Channels, run.channels),
        native_size=run.native_size,
        input_size=run.input_size,
        crop_margin=run.crop_margin,
        calibration=run.calibration.to_dict(),
        abstain_below=record["metrics"]["validation"].get("selective", {}).get("threshold"),
        backbone=record["model"]["backbone"],
        run_key=record["key"],
        experiment=record["experiment"],
        pretraining=record["pretraining"],
        licence=record["data"]["licence"],
        aligned=run.cfg.data.get("crop") == "detect" and bool(run.cfg.data.get("align")),
    )
