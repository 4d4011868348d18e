"""Networks as exporters that start from torch want them: traced quickly, with their calibration as one module."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_lab.evaluation.calibration import Calibration
from fer_lab.models.folding import folded


class CalibratedSoftmax(nn.Module):
    """Logits float32 N×K to the calibrated probabilities float32 N×K; see fer_lab.evaluation.calibration."""

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        parameters = calibration.parameters
        self.isotonic = "x" in parameters
        if self.isotonic:  # ramps, as fer_lab.deploy.calibration has them
            ramps = max(max(map(len, parameters["x"])) - 1, 1)
            start, width, slope = np.zeros((3, len(parameters["x"]), ramps))
            for k, (x, y) in enumerate(zip(parameters["x"], parameters["y"], strict=True)):
                n = len(x) - 1
                start[k, :n], width[k, :n] = x[:-1], np.diff(x)
                slope[k, :n] = np.diff(y) / np.diff(x)
            values = {"start": start, "width": width, "slope": slope, "least": [y[0] for y in parameters["y"]]}
        elif calibration.temperature is not None:
            values = {"scale": [1 / calibration.temperature], "bias": [0.0]}
        else:
            values = {"scale": parameters["scale"], "bias": parameters["bias"]}
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(np.asarray(value, np.float32)))

    def forward(self, logits: Tensor) -> Tensor:
        if not self.isotonic:
            return torch.softmax(logits * self.scale + self.bias, dim=1)
        beyond = torch.softmax(logits, dim=1).unsqueeze(2) - self.start
        risen = (torch.minimum(beyond.clamp(min=0), self.width) * self.slope).sum(2) + self.least
        return risen / risen.sum(1, keepdim=True)


class Exported(nn.Module):
    """uint8 faces N×H×W×C to {"logits", "probabilities"}, both float32 N×K."""

    def __init__(self, network: nn.Module, calibration: Mapping[str, Any]) -> None:
        super().__init__()
        self.network, self.calibrated = network, CalibratedSoftmax(Calibration.from_dict(calibration))

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        logits = self.network(faces)
        return {"logits": logits, "probabilities": self.calibrated(logits)}


def for_tracing(network: nn.Module, face_shape: tuple[int, int, int]) -> nn.Module:
    """A copy on the CPU, in eval mode, that answers the same and is traced in two thirds of the time.

    It has no BatchNorm where that can be folded, and no operation in place, which torch.export writes out in Python.
    network: takes uint8 faces N×H×W×C; face_shape: their H, W, C.
    """
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, *face_shape), np.uint8))
    # Contiguous: weights left in channels_last by training would put gathers into the graph.
    own = folded(copy.deepcopy(network).cpu(), noise).to(memory_format=torch.contiguous_format)
    for module in own.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return own
