"""A finished run, loaded: its network with the best weights, and what one needs to use or export it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors import SafetensorError
from yaml import YAMLError

from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.parent import weights_file
from fer_lab.evaluation.test_split import file_hash
from fer_lab.models.network import Network, build_network
from fer_lab.results.record import read_record


@dataclass(frozen=True)
class LoadedRun:
    """A completed run.

    Attributes:
        folder, cfg, record: as they lie there; weights: file of the network's weights, the parent's for a derived run.
        network: eval mode, best weights.
        calibration: fitted on validation; class_names: order of the logits.
        channels: "grey" or "rgb"; native_size: faces are native_size × native_size uint8.
        crop_margin: share of the face box added around it when faces are cropped from photos.
    """

    folder: Path
    cfg: DictConfig
    record: dict[str, Any]
    weights: Path
    network: Network
    calibration: Calibration
    class_names: tuple[str, ...]
    channels: str
    native_size: int
    input_size: int
    crop_margin: float


def load_run(folder: str | Path) -> LoadedRun:
    """Load a run's folder.

    Raises:
        FerLabError: the folder holds no run, or one that has not completed, or one whose parent is gone.
    """
    folder = Path(folder)
    record = read_record(folder)
    if record is None:
        raise FerLabError(
            f"run={folder} holds no record.json; give a run's folder, for example outputs/<experiment>/seed0."
        )
    if record["status"] != "completed":
        raise FerLabError(f"run={folder} is {record['status']}; finish it first with the command that started it.")
    try:
        cfg = OmegaConf.load(folder / "config.yaml")
    except (OSError, ValueError, YAMLError) as error:
        raise FerLabError(f"{folder / 'config.yaml'} cannot be read ({_first(error)}): train the run again") from None
    if not isinstance(cfg, DictConfig) or "backbone" not in cfg:
        raise FerLabError(f"{folder / 'config.yaml'} is no run's config: train the run again")
    with open_dict(cfg):
        cfg.backbone.weights = "none"  # the run's own weights follow
    class_names = tuple(record["model"]["class_names"])
    network = build_network(cfg, len(class_names))
    weights = weights_file(folder)
    frozen = next((one["frozen"].get(weights.name) for one in record.get("test_openings", [])), None)
    if frozen not in (None, file_hash(weights)):
        raise FerLabError(f"{weights} is not what the test split was opened for: it was changed since, train it again")
    try:
        network.load_state_dict(safetensors.torch.load_file(weights))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise FerLabError(f"{weights} is damaged or another network's ({_first(error)}): train the run again") from None
    return LoadedRun(
        folder=folder,
        cfg=cfg,
        record=record,
        weights=weights,
        network=network.eval(),
        calibration=Calibration.from_dict(record["calibration"]),
        class_names=class_names,
        channels=record["data"]["channels"],
        native_size=record["data"]["size"],
        input_size=cfg.input_size,
        crop_margin=record["data"]["crop_margin"],
    )


def _first(error: Exception) -> str:
    """The first line of what it says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
