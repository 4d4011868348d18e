"""Learning-rate schedules as Lightning wants them; `steps` is the number of optimizer steps of the running stage."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau


def constant(optimizer: Optimizer, steps: int) -> dict[str, Any]:
    """The optimizer's lr throughout."""
    return {"scheduler": ConstantLR(optimizer, factor=1.0), "interval": "epoch"}


def cosine(optimizer: Optimizer, steps: int) -> dict[str, Any]:
    """From the optimizer's lr to zero along half a cosine (Loshchilov & Hutter 2017, without restarts)."""
    return {"scheduler": CosineAnnealingLR(optimizer, T_max=steps), "interval": "step"}


def onecycle(optimizer: Optimizer, steps: int, warmup: float) -> dict[str, Any]:
    """Smith & Topin 2018: up to the optimizer's lr over a share `warmup` of the steps, then down to almost zero."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    return {"scheduler": OneCycleLR(optimizer, peaks, total_steps=steps, pct_start=warmup), "interval": "step"}


def plateau(optimizer: Optimizer, steps: int, factor: float, patience: int) -> dict[str, Any]:
    """Times `factor` whenever the validation loss has not fallen for more than `patience` epochs."""
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": "validation/loss"}
