"""One way to ask any shipped file: uint8 faces in, logits and calibrated probabilities out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from fer_lab.deploy.metadata import KEY, Channels, ModelMetadata
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
    def load(path: str | Path, threads: int = 1, class_names: tuple[str, ...] | None = None) -> "Classifier":
        """Open an .onnx file (ONNX Runtime; needs no torch) or a run folder or its model.safetensors (torch eager).

        threads: CPU threads of one call. class_names: the classes the caller relies on.
        Raises FerLabError for a missing or unreadable file, one without metadata, and one with other classes.
        """
        path = Path(path)
        kind = ".safetensors" if path.is_dir() else path.suffix
        if kind not in LOADERS:
            raise FerLabError(f"{path} is no model file: give a run folder or one of *{', *'.join(LOADERS)}")
        if not path.exists():
            raise FerLabError(f"{path} does not exist: export a run with `python -m fer_lab.export run=<folder>`")
        classifier = LOADERS[kind](path, threads)
        if class_names is not None:
            classifier.metadata.require_classes(class_names, path)
        return classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.metadata.class_names

    def logits(self, faces: np.ndarray) -> np.ndarray:
        """Uncalibrated logits, float32 N×K, of uint8 faces N×H×W×C. Raises FerLabError for any other faces."""
        return self._batches(faces)[0]

    def probabilities(self, faces: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, float32 N×K, rows summing to 1. Raises FerLabError for faces of another kind."""
        return self._batches(faces)[1]

    def _batches(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._check(faces)
        starts = range(0, max(len(faces), 1), BATCH)
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
        return cls(session, ModelMetadata.from_json(session.get_modelmeta().custom_metadata_map.get(KEY), path))

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = self.session.run(["logits", "probabilities"], {"faces": faces})
        return logits, probabilities


class TorchClassifier(Classifier):
    """A run's own network, eager: the reference every exported file is compared with."""

    runtime = "torch"

    def __init__(self, network: "nn.Module", metadata: ModelMetadata, threads: int):
        """network: uint8 N×H×W×C -> logits float32 N×K."""
        from fer_lab.evaluation.calibration import Calibration

        self.network, self.metadata, self.threads = network.eval(), metadata, threads
        self.calibration = Calibration.from_dict(metadata.calibration)

    @classmethod
    def open(cls, path: Path, threads: int) -> "TorchClassifier":
        """Of a run folder, or its model.safetensors."""
        from fer_lab.evaluation.run import load_run

        run = load_run(path if path.is_dir() else path.parent)
        return cls(run.network, describe(run), threads)

    def run(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        import torch

        before = torch.get_num_threads()
        if before != self.threads:  # a global of torch, so it is put back
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                logits = self.network(torch.tensor(faces)).float().numpy()
        finally:
            if before != self.threads:
                torch.set_num_threads(before)
        return logits, self.calibration.probabilities(logits).astype(np.float32)


LOADERS: dict[str, Callable[[Path, int], Classifier]] = {
    ".onnx": OnnxClassifier.open,
    ".safetensors": TorchClassifier.open,
}


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
