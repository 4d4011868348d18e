"""A short distillation: a changed network learns the logits of the float network it came from (Hinton et al. 2015).

No labels, no Lightning: a plain loop over training faces, seeded. First the BatchNorm statistics are measured again,
which repairs most of what another activation breaks; then they stay fixed, as in what ships.
"""

import copy
import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.errors import FerLabError
from fer_lab.models.network import Network
from fer_lab.models.preprocess import Preprocess

STATISTICS_BATCH = 32
LAYOUT = torch.channels_last  # 1.7 times as fast on a CPU


@dataclass(frozen=True)
class Distillation:
    """How long and how fast.

    epochs: views of each face. faces: training faces used, at most. batch, lr: of AdamW with a one-cycle rate.
    temperature: both logits are divided by it before the softmax. tmacs: no more than so many 10^12 multiply-adds
    (a step costs four forward passes), which is 100 s a tera on 2 cores; what it allows may be less than an epoch.
    small: side in pixels of the images of all but the last steps, as a convolution learns much the same from them and
    costs its square; null, or from the network's own input size on, for that size throughout. last: share of faces and
    multiply-adds for the last steps, at the network's own size. statistics_faces: on which BatchNorm is measured again.
    """

    epochs: int = 4
    faces: int = 8192
    batch: int = 32
    lr: float = 2e-4
    temperature: float = 2.0
    tmacs: float = 0.5
    small: int | None = None
    last: float = 0.3
    statistics_faces: int = 512

    def __post_init__(self) -> None:
        for name in ("epochs", "faces", "batch", "statistics_faces"):
            if getattr(self, name) < 1:
                raise FerLabError(f"export.distill.{name} must be at least 1: give a count of faces or epochs")

    def phases(self, available: int, macs: int, input_size: int) -> list[tuple[int, int]]:
        """Side of the images and count of steps of each phase, as `available` faces and the budget allow; at least 1
        step at the network's own `input_size`, which has `macs` multiply-adds."""
        wanted = self.epochs * min(self.faces, available) / self.batch
        step = 4 * macs * self.batch
        allowed = self.tmacs * 1e12 / step
        if self.small is None or self.small >= input_size:
            return [(input_size, max(int(min(wanted, allowed)), 1))]
        cheap = allowed * (input_size / self.small) ** 2
        counts = int((1 - self.last) * min(wanted, cheap)), max(int(self.last * min(wanted, allowed)), 1)
        return [(size, count) for size, count in zip((self.small, input_size), counts, strict=True) if count]

    def __call__(
        self, student: Network, teacher: Network, images: np.ndarray, macs: int, seed: int, measure: bool = True
    ) -> tuple[Network, dict[str, Any]]:
        """Train a copy of `student`.

        Args:
            student, teacher: uint8 faces to logits float32 N×K. images: training faces, uint8 N×H×W×C. macs: of one.
            measure: BatchNorm's statistics anew before each phase; without, they stay, unless a phase has other sizes.

        Returns:
            The trained copy in eval mode; what was done: the settings, steps, faces seen, and the first and last loss.
        """
        generator = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, teacher = _copy(student), _copy(teacher)
            drawn = np.sort(generator.permutation(len(images))[: self.faces])
            known = images[np.sort(generator.permutation(drawn)[: self.statistics_faces])]
            phases = self.phases(len(drawn), macs, _resizer(network).input_size)
            steps = sum(count for _, count in phases)
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps + 1)
            order = np.concatenate([generator.permutation(drawn) for _ in range(steps * self.batch // len(drawn) + 1)])
            starts, losses = iter(range(0, len(order), self.batch)), []
            with Progress(console=Console(stderr=True), transient=True) as progress:
                task = progress.add_task("distilling", total=steps)
                for size, count in phases:
                    _resizer(network).input_size = _resizer(teacher).input_size = size
                    if measure or len(phases) > 1:
                        remeasure(network, known)
                    for start in itertools.islice(starts, count):
                        faces = _views(images[np.sort(order[start : start + self.batch])], generator)
                        losses.append(self._step(network, teacher, faces, optimizer))
                        schedule.step()
                        progress.advance(task)
        few = max(steps // 10, 1)
        found = {"first_loss": float(np.mean(losses[:few])), "last_loss": float(np.mean(losses[-few:]))}
        network = network.to(memory_format=torch.contiguous_format).eval()
        return network, {
            **asdict(self),
            "steps": steps,
            "phases": phases,
            "faces_seen": steps * self.batch,
            **found,
            "seed": seed,
        }

    def _step(self, network: Network, teacher: Network, faces: Tensor, optimizer: torch.optim.Optimizer) -> float:
        with torch.inference_mode():
            wanted = F.softmax(teacher(faces) / self.temperature, dim=1)
        given = F.log_softmax(network(faces) / self.temperature, dim=1)
        loss = F.kl_div(given, wanted.clone(), reduction="batchmean") * self.temperature**2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        return float(loss.detach())


def _copy(network: Network) -> Network:
    return copy.deepcopy(network).cpu().to(memory_format=LAYOUT)  # type: ignore[call-overload]


def _resizer(network: nn.Module) -> Preprocess:
    """The part of a network that brings faces to its input size."""
    return next(module for module in network.modules() if isinstance(module, Preprocess))


def remeasure(network: Network, images: np.ndarray) -> None:
    """Replace the running statistics of each BatchNorm by plain means over `images`; ends in eval mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    network.eval()
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


def _views(images: np.ndarray, generator: np.random.Generator) -> Tensor:
    """Each face, mirrored with probability one half: uint8 N×H×W×C."""
    mirrored = generator.random(len(images)) < 0.5
    return torch.from_numpy(np.ascontiguousarray(np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)))
