"""A short distillation: a changed network learns the logits of the float network it came from (Hinton et al. 2015).

On training faces as they are, and no label: what the two say of the same face is to agree, which hundreds of steps do.
No Lightning: a plain loop, seeded. BatchNorm keeps its statistics where the layers were fitted to them
(`fer_lab.deploy.reconstruct`): what least squares give varies less than what they were to give, and BatchNorm measured
anew would blow it up (3.4 points of accuracy of mobilenetv3_small with ReLU6).
"""

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.data.dataset import FaceSplit
from fer_lab.errors import FerLabError
from fer_lab.models.network import Network

STATISTICS_BATCH = 32
LAYOUT = torch.channels_last  # 1.7 times as fast on a CPU
Teach = Callable[[np.ndarray], np.ndarray]  # rows of the training split, int64 N, to logits float32 N×K


@dataclass(frozen=True)
class Distillation:
    """How long and how fast.

    epochs: how often each face is seen. faces: training faces used, at most. batch, lr: of AdamW with a one-cycle rate.
    temperature: both logits are divided by it before the softmax. tmacs: no more than so many 10^12 multiply-adds (a
    step costs three forward passes; the teacher's answers come on top), which is 60 to 80 s a tera on 2 cores; what it
    allows may be less than an epoch. statistics_faces: on which BatchNorm is measured again, where it is.

    Raises:
        FerLabError: a count too small.
    """

    epochs: int = 4
    faces: int = 8192
    batch: int = 32
    lr: float = 1e-4
    temperature: float = 2.0
    tmacs: float = 1.5
    statistics_faces: int = 1024

    def __post_init__(self) -> None:
        for name in ("epochs", "faces", "batch", "statistics_faces"):
            least = 2 if name in ("batch", "statistics_faces") else 1  # BatchNorm has no variance of one face
            if getattr(self, name) < least:
                raise FerLabError(f"export.distill.{name} must be at least {least}: give a count of faces or epochs")

    def steps(self, available: int, macs: int) -> int:
        """Count of steps, at least 1, as `available` faces and the budget allow; macs: multiply-adds of one face."""
        wanted = self.epochs * min(self.faces, available) / self.batch
        return max(int(min(wanted, self.tmacs * 1e12 / (3 * macs * self.batch))), 1)

    def __call__(
        self, student: Network, teach: Teach, training: FaceSplit, macs: int, seed: int, settle: bool = False
    ) -> tuple[Network, dict[str, Any]]:
        """Train a copy of `student`.

        Args:
            student: uint8 faces to logits float32 N×K. teach: what the network it came from says of faces, asked once
                about each. macs: of one face. settle: BatchNorm learns along and is measured again at the end, as a
                network wants that was not fitted before (a pruned one).

        Returns:
            The trained copy in eval mode; what was done: the settings, steps, faces seen, and the first and last loss.
        """
        generator = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = in_cpu_layout(student).eval()
            drawn = np.sort(generator.permutation(len(training))[: self.faces])
            steps = self.steps(len(drawn), macs)
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps + 1, pct_start=0.15)
            order = np.concatenate([generator.permutation(drawn) for _ in range(steps * self.batch // len(drawn) + 1)])
            batches = np.array_split(order[: steps * self.batch], steps)
            seen, places = np.unique(np.concatenate(batches), return_inverse=True)
            wanted = torch.from_numpy(teach(seen))[places].split([len(batch) for batch in batches])
            losses = []
            for norm in _norms(network) if settle else ():
                norm.train()
            turns = track(batches, "distilling", console=Console(stderr=True), transient=True)
            for rows, answers in zip(turns, wanted, strict=True):
                loss = self.loss(network(torch.from_numpy(training.images[rows])), answers)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimizer.step()
                losses.append(float(loss.detach()))
                schedule.step()
            if settle:
                remeasure(network, training.images[np.sort(generator.permutation(drawn)[: self.statistics_faces])])
        few = max(steps // 10, 1)
        found = {"first_loss": float(np.mean(losses[:few])), "last_loss": float(np.mean(losses[-few:]))}
        network = network.to(memory_format=torch.contiguous_format).eval()
        return network, {**asdict(self), "steps": steps, "faces_seen": len(seen), **found, "seed": seed}

    def loss(self, given: Tensor, wanted: Tensor) -> Tensor:
        """Hinton et al. 2015, section 2: the divergence from the teacher's softened probabilities, times the square of
        the temperature. given, wanted: logits float32 N×K."""
        softened, target = F.log_softmax(given / self.temperature, 1), F.softmax(wanted / self.temperature, 1)
        return F.kl_div(softened, target, reduction="batchmean") * self.temperature**2


def in_cpu_layout(network: Network) -> Network:
    """A copy, as a CPU computes it fastest."""
    return copy.deepcopy(network).cpu().to(memory_format=LAYOUT)  # type: ignore[call-overload]


def _norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """BatchNorm layers that keep statistics."""
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]


def remeasure(network: Network, images: np.ndarray) -> None:
    """Replace the running statistics of each BatchNorm by plain means over `images`; ends in eval mode."""
    network.eval()
    norms = _norms(network)
    if not norms or len(images) < 2:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for start in range(0, len(images), STATISTICS_BATCH):
            batch = np.array(images[start : start + STATISTICS_BATCH])
            if len(batch) > 1:  # a head's BatchNorm has no variance of one face
                network(torch.from_numpy(batch))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


@torch.inference_mode()
def divergence(student: Network, teacher: Network, images: np.ndarray) -> float:
    """Mean KL divergence in nats of the student's from the teacher's probabilities on faces, uint8 N×H×W×C."""
    total = 0.0
    for start in range(0, len(images), STATISTICS_BATCH):
        faces = torch.from_numpy(np.array(images[start : start + STATISTICS_BATCH]))
        given, wanted = (F.log_softmax(network(faces), dim=1) for network in (student, teacher))
        total += float(F.kl_div(given, wanted, reduction="sum", log_target=True))
    return total / len(images)
