"""The LightningModule: one shared step, and the optimizer of one stage."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from fer_lab.models.losses import Loss
from fer_lab.models.network import Network


class FERModule(L.LightningModule):
    """Trains one stage of a network.

    Args:
        network, loss: built; optimizer: parameters -> Optimizer; lr_scheduler: (optimizer, steps) -> Lightning's dict.
        frozen: modules kept in eval mode; lr_factor: times the optimizer's lr; channels_last: memory format.
        start: steps of the network that the batches' "features" have behind them; 0 for batches of "faces".
    """

    def __init__(
        self,
        network: Network,
        loss: Loss,
        optimizer: Callable[..., torch.optim.Optimizer],
        lr_scheduler: Callable[..., dict[str, Any]],
        frozen: list[nn.Module],
        lr_factor: float = 1.0,
        channels_last: bool = True,
        start: int = 0,
    ) -> None:
        super().__init__()
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.loss = loss
        self.optimizer, self.lr_scheduler, self.lr_factor = optimizer, lr_scheduler, lr_factor
        self._frozen, self.start = frozen, start
        self.train()  # Lightning keeps the modes it finds: else frozen BatchNorm would go on learning statistics

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits N×K of a batch's faces, uint8 N×H×W×C, or features."""
        return self.network(batch["features"], self.start) if self.start else self.network(batch["faces"])

    def train(self, mode: bool = True) -> "FERModule":
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def _step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self(batch)
        return {"loss": self.loss(logits, batch["target"]), "logits": logits.detach()}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._step(batch)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._step(batch)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        for group in optimizer.param_groups:
            group["lr"] *= self.lr_factor
        scheduler = self.lr_scheduler(optimizer, steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
