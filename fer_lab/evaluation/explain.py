"""Where the network looked in its most confident errors: class-activation maps (Grad-CAM, Selvaraju et al. 2017).

The faces are of the validation split: looking at test faces would be a way of choosing by them. The maps and the names
of the faces are always written; the faces themselves are drawn over only where the data are drawn, or on request.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam

from fer_lab.errors import FerLabError
from fer_lab.evaluation.predict import predict
from fer_lab.evaluation.suites import Model, Suite, Trial
from fer_lab.models.network import Network
from fer_lab.results.examples import drawn
from fer_lab.results.explain_tiles import save_tiles
from fer_lab.results.suite_tables import write_rows

_DIGITS = 4


class Explain(Suite):
    """Maps of the network's most confident errors, for the class it answered and for the true one.

    An exported file holds the same network but no gradients, so only the run's own network is asked.

    Args:
        errors: how many; faces: whether tiles may show photographs. Drawn faces are always shown.
    """

    name, split = "explain", "validation"

    def __init__(self, errors: int = 12, faces: bool = False) -> None:
        self.errors, self.faces = errors, faces

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        """Raises FerLabError where only an exported file is asked."""
        if all(model.path != trial.run.weights for model in trial.models):
            raise FerLabError(f"{trial.models[0].path} has no gradients, which suite=explain needs; leave model= out.")
        found = {}
        for model in trial.models:
            if model.path != trial.run.weights:
                continue
            wrong = confident_errors(trial, model, self.errors)
            faces = np.array(trial.split.images[wrong["index"]])
            columns = trial.shared.columns if trial.shared else np.arange(len(trial.class_names))
            network = trial.run.network
            maps = {key: class_maps(network, faces, columns[wrong[key]]) for key in ("predicted", "true")}
            names = np.array(trial.class_names)
            found[model.name] = {
                "errors": [
                    {
                        "sample_id": str(trial.split.ids[i]),
                        "true": str(names[wrong["true"][n]]),
                        "predicted": str(names[wrong["predicted"][n]]),
                        "confidence": float(wrong["confidence"][n]),
                        **{f"map_{key}": maps[key][n].round(_DIGITS).tolist() for key in maps},
                    }
                    for n, i in enumerate(wrong["index"])
                ],
            }
            if self.faces or drawn(trial.data):
                save_tiles(trial.folder / "tiles", found[model.name]["errors"], faces)
            else:  # photographs of an earlier call, which asked for them, do not outlive it
                shutil.rmtree(trial.folder / "tiles", ignore_errors=True)
        return found

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        return write_rows(folder, self.rows(found), "Most confident errors on validation faces")

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        kept = ("sample_id", "true", "predicted", "confidence")
        return [{"file": name, **{key: one[key] for key in kept}} for name, r in found.items() for one in r["errors"]]


def confident_errors(trial: Trial, model: Model, most: int) -> dict[str, np.ndarray]:
    """The wrongly named faces of the trial of which the network was surest: index, true, predicted (int64 M) and
    confidence (float64 M), the surest first. Of pixel-identical faces only one is taken."""
    answers = trial.answers(model, predict(model.logits, trial.split, f"Validation, {model.name}"))
    predicted, confidence = answers.argmax(1), np.exp(answers.max(1))
    order = np.argsort(-confidence, kind="stable")
    order = order[predicted[order] != trial.split.labels[order]]
    first = np.sort(np.unique(trial.split.groups[order].astype(str), return_index=True)[1])
    index = order[first][:most]
    return {
        "index": index,
        "true": trial.split.labels[index],
        "predicted": predicted[index],
        "confidence": confidence[index],
    }


def class_maps(network: Network, faces: np.ndarray, classes: Sequence[int] | np.ndarray) -> np.ndarray:
    """Grad-CAM of one class a face on the backbone's last feature map: what spoke for that class, and where.

    Args:
        network: eval mode; faces: uint8 N×H×W×C; classes: int N, indices of logits.

    Returns:
        float32 N×h×w of the feature map's own size, 0 to 1 (the map's largest value; all 0 where nothing spoke for it).
    """
    if not len(faces):
        return np.zeros((0, 1, 1), np.float32)
    device = next(network.parameters()).device
    images = network.preprocess(torch.from_numpy(np.ascontiguousarray(faces)).to(device))
    with torch.enable_grad():
        # from the images on: captum wants inputs that have gradients, which bytes have not
        cam = LayerGradCam(lambda x: network.head(network.backbone(x)), network.backbone)
        target = torch.as_tensor(np.asarray(classes), device=device)
        maps = cam.attribute(images.requires_grad_(), target=target, relu_attributions=True)
    maps = maps[:, 0].detach().float().cpu().numpy()
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)
