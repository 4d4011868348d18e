"""Logits of a split, and their parquet file."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from rich.progress import track

from fer_lab.data.dataset import FaceSplit
from fer_lab.evaluation.calibration import Calibration, answers_of
from fer_lab.models.folding import folded
from fer_lab.models.network import Network

#: Column of a split and of its predictions: whether the face's pixels stand in training too.
COPY = "copy_in_train"


def predict(
    logits_of: Callable[[np.ndarray], np.ndarray], split: FaceSplit, title: str, batch_size: int = 16
) -> np.ndarray:
    """Logits of every face of a split, in its order.

    Args:
        logits_of: uint8 B×H×W×C to float32 B×K; a network (see `of_network`) or an exported file's classifier.
        title: of the progress bar; batch_size: small, as the activations should stay in a CPU's caches.

    Returns:
        float32 N×K.
    """
    starts = range(0, len(split), batch_size)
    parts = [logits_of(np.array(split.images[i : i + batch_size])) for i in track(starts, title, transient=True)]
    return np.concatenate(parts)


def of_network(network: Network) -> Callable[[np.ndarray], np.ndarray]:
    """A network in eval mode as a function of arrays; it works on a copy without BatchNorm."""
    device = next(network.parameters()).device
    noise = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 1), np.uint8)
    copy = folded(network, torch.from_numpy(noise).to(device))

    @torch.inference_mode()
    def logits_of(faces: np.ndarray) -> np.ndarray:
        return copy(torch.from_numpy(faces).to(device)).float().cpu().numpy()

    return logits_of


def save_predictions(
    path: Path,
    split: FaceSplit,
    logits: np.ndarray,
    class_names: Sequence[str],
    calibration: Calibration | float | np.ndarray = 1.0,
) -> None:
    """Write sample_id, label and predicted (their names), group (equal pixels), copy_in_train where it is known,
    logit_<class>, and votes_<class> where there are votes. Logits are uncalibrated; `predicted` is the most probable
    class after calibration: of one, of a temperature, or of calibrated log-probabilities (float64 N×K)."""
    table = pd.DataFrame({"sample_id": split.ids.astype(str), "label": [class_names[k] for k in split.labels]})
    table["predicted"] = _predicted(logits, class_names, calibration)
    table["group"] = [f"{group:016x}" for group in split.groups]
    if COPY in split.columns:
        table[COPY] = split.columns[COPY]
    for k, name in enumerate(class_names):
        table[f"logit_{name}"] = logits[:, k]
    if split.votes is not None:
        for k, name in enumerate(class_names):
            table[f"votes_{name}"] = split.votes[:, k]
    table.to_parquet(path, index=False)


def copy_predictions(
    source: Path, target: Path, class_names: Sequence[str], calibration: Calibration | np.ndarray
) -> None:
    """The same predictions file under another calibration: only `predicted` may differ."""
    table = pd.read_parquet(source)
    logits = table[[f"logit_{name}" for name in class_names]].to_numpy()
    before, after = (_predicted(logits, class_names, one) for one in (1.0, calibration))
    if np.array_equal(table.get("predicted", before), after):
        shutil.copyfile(source, target)
    else:
        table.assign(predicted=after).to_parquet(target, index=False)


def load_predictions(path: Path, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Logits, float32 N×K, and labels, int64 N, of a predictions file."""
    table = pd.read_parquet(path)
    logits = table[[f"logit_{name}" for name in class_names]].to_numpy(np.float32)
    return logits, table["label"].map({name: k for k, name in enumerate(class_names)}).to_numpy()


def load_votes(path: Path, class_names: Sequence[str]) -> np.ndarray | None:
    """Votes, float32 N×K, of a predictions file; None where it has none."""
    columns = [f"votes_{name}" for name in class_names]
    known = set(pq.read_schema(path).names)
    return pd.read_parquet(path, columns=columns).to_numpy(np.float32) if known.issuperset(columns) else None


def load_groups(path: Path) -> np.ndarray:
    """Which faces of a predictions file have equal pixels: N values, equal for these; all differ in files without."""
    table = pd.read_parquet(path)
    return table["group" if "group" in table else "sample_id"].to_numpy(str)


def _predicted(
    logits: np.ndarray, class_names: Sequence[str], calibration: Calibration | float | np.ndarray
) -> np.ndarray:
    return np.array(class_names, dtype=object)[answers_of(logits, calibration).argmax(1)]
