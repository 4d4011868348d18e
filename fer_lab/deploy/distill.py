"""A short distillation: a changed network learns the logits of the float network it came from (Hinton et al. 2015).

Labels have a say too, as in theirs: what a change broke is not always worth restoring. No Lightning: a plain loop over
training faces, seeded. BatchNorm learns along; its statistics are measured anew at the end.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional as F

from fer_lab.data.augment import Augmenter
from fer_lab.data.dataset import FaceSplit
from fer_lab.errors import FerLabError
from fer_lab.models.network import Network
from fer_lab.models.preprocess import Preprocess

STATISTICS_BATCH = 32
SMOOTHING = 0.1  # of the labels
LAYOUT = torch.channels_last  # 1.7 times as fast on a CPU
Teach = Callable[[np.ndarray], np.ndarray]  # rows of the training split, int64 N, to logits float32 N×K


@dataclass(frozen=True)
class Distillation:
    """How long and how fast.

    epochs: views of each face. faces: training faces used, at most. batch, lr: of AdamW with a one-cycle rate.
    temperature: both logits are divided by it before the softmax. labels: share of the labels' cross-entropy in the
    loss, 0-1; the teacher's logits have the rest. tmacs: no more than so many 10^12 multiply-adds (a step costs three
    forward passes; the teacher's answers come on top), which is 80 s a tera on 2 cores; what it allows may be less than
    an epoch. small: side in pixels of the images of all but the last steps, as a convolution learns much the same from
    them and costs its square; null, or from the network's own input size on, for that size throughout. last: share of
    faces and multiply-adds for the last steps, at the network's own size. statistics_faces: on which BatchNorm is
    measured again.

    Raises:
        FerLabError: a count too small, or a share outside 0-1.
    """

    epochs: int = 4
    faces: int = 8192
    batch: int = 32
    lr: float = 5e-4
    temperature: float = 2.0
    labels: float = 0.5
    tmacs: float = 2.0
    small: int | None = 160
    last: float = 0.3
    statistics_faces: int = 1024

    def __post_init__(self) -> None:
        for name in ("epochs", "faces", "batch", "statistics_faces"):
            least = 2 if name in ("batch", "statistics_faces") else 1  # BatchNorm has no variance of one face
            if getattr(self, name) < least:
                raise FerLabError(f"export.distill.{name} must be at least {least}: give a count of faces or epochs")
        if not 0 <= self.labels <= 1:
            raise FerLabError(f"export.distill.labels={self.labels} is a share of the loss: give 0 to 1")

    def phases(self, available: int, macs: int, input_size: int) -> list[tuple[int, int]]:
        """Side of the images and count of steps of each phase, as `available` faces and the budget allow; at least 1
        step at the network's own `input_size`, which has `macs` multiply-adds."""
        wanted = self.epochs * min(self.faces, available) / self.batch
        step = 3 * macs * self.batch
        allowed = self.tmacs * 1e12 / step
        if self.small is None or self.small >= input_size:
            return [(input_size, max(int(min(wanted, allowed)), 1))]
        cheap = allowed * (input_size / self.small) ** 2
        counts = int((1 - self.last) * min(wanted, cheap)), max(int(self.last * min(wanted, allowed)), 1)
        return [(size, count) for size, count in zip((self.small, input_size), counts, strict=True) if count]

    def __call__(
        self, student: Network, teach: Teach, training: FaceSplit, augment: Augmenter, macs: int, seed: int
    ) -> tuple[Network, dict[str, Any]]:
        """Train a copy of `student`.

        Args:
            student: uint8 faces to logits float32 N×K, shown views of the faces that `augment` draws. teach: what the
                network it came from says of faces as they are, asked once about each. macs: of one face.

        Returns:
            The trained copy in eval mode; what was done: the settings, steps, faces seen, and the first and last loss.
        """
        generator = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = in_cpu_layout(student)
            resizer = _resizer(network)
            own = resizer.input_size
            drawn = np.sort(generator.permutation(len(training))[: self.faces])
            phases = self.phases(len(drawn), macs, own)
            steps = sum(count for _, count in phases)
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps + 1, pct_start=0.15)
            order = np.concatenate([generator.permutation(drawn) for _ in range(steps * self.batch // len(drawn) + 1)])
            batches = np.array_split(order[: steps * self.batch], steps)
            seen, places = np.unique(np.concatenate(batches), return_inverse=True)
            wanted = torch.from_numpy(teach(seen))[places].split([len(batch) for batch in batches])
            losses, turns = [], enumerate(zip(batches, wanted, strict=True))
            for norm in _norms(network):
                norm.train()
            with Progress(console=Console(stderr=True), transient=True) as progress:
                task = progress.add_task("distilling", total=steps)
                for size, count in phases:
                    resizer.input_size = size
                    for step, (rows, answers) in itertools.islice(turns, count):
                        faces, labels = _views(training, rows, augment, f"{seed} {step}")
                        loss = self.loss(network(faces), answers, labels)
                        optimizer.zero_grad()
                        loss.backward()
                        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                        optimizer.step()
                        losses.append(float(loss.detach()))
                        schedule.step()
                        progress.advance(task)
            resizer.input_size = own
            remeasure(network, training.images[np.sort(generator.permutation(drawn)[: self.statistics_faces])])
        few = max(steps // 10, 1)
        found = {"first_loss": float(np.mean(losses[:few])), "last_loss": float(np.mean(losses[-few:]))}
        network = network.to(memory_format=torch.contiguous_format).eval()
        return network, {
            **asdict(self),
            "steps": steps,
            "phases": phases,
            "faces_seen": len(seen),
            **found,
            "seed": seed,
        }

    def loss(self, given: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
        """Hinton et al. 2015, section 2: the divergence from the teacher's softened probabilities times the temperature
        squared, and the labels' cross-entropy, smoothed. given, wanted: logits float32 N×K; labels: int64 N."""
        softened, target = F.log_softmax(given / self.temperature, 1), F.softmax(wanted / self.temperature, 1)
        divergence = F.kl_div(softened, target, reduction="batchmean") * self.temperature**2
        return (1 - self.labels) * divergence + self.labels * F.cross_entropy(given, labels, label_smoothing=SMOOTHING)


def in_cpu_layout(network: Network) -> Network:
    """A copy, as a CPU computes it fastest."""
    return copy.deepcopy(network).cpu().to(memory_format=LAYOUT)  # type: ignore[call-overload]


def _resizer(network: nn.Module) -> Preprocess:
    """The part of a network that brings faces to its input size."""
    return next(module for module in network.modules() if isinstance(module, Preprocess))


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


def _views(training: FaceSplit, rows: np.ndarray, augment: Augmenter, key: str) -> tuple[Tensor, Tensor]:
    """Views of the split's faces, uint8 N×H×W×C, and their labels, int64 N."""
    drawn = [augment(training.images[row], f"{key} {row}", training.labels[row]) for row in rows]
    return torch.from_numpy(np.stack(drawn)), torch.from_numpy(training.labels[rows]).long()
