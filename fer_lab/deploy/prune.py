"""Structured pruning: whole channels go, those with the least importance, until a target of multiply-adds or latency.

torch-pruning (Fang et al. 2023, DepGraph) finds which channels hang together: a depthwise convolution's with those
before it, a squeeze-excite's with what it gates, both sides of a residual. Fine-tuning (`fer_lab.deploy.distill`)
follows. A pruned network is another network than the trained one.
"""

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from fer_lab.errors import FerLabError
from fer_lab.extras import optional
from fer_lab.models.network import Network, describe_network

STEPS = 50  # in which channels are taken away, at most
ROUND_TO = 8  # channels are multiples of it: vector registers hold 8 or 16 numbers
BISECTIONS, WITHIN = 5, 0.03  # of a latency target: ends when it is met this closely
TRACE_FACES = 2


@dataclass(frozen=True)
class Pruning:
    """A target and a measure of importance (conf/export). Both targets null: nothing is pruned.

    macs: share of the multiply-adds to keep, in (0, 1). latency_ms: of the folded FP32 ONNX file on one face with one
    thread, milliseconds. importance: of a channel with all that hangs on it: l1 or l2, the norm of its weights, or
    taylor, |gradient × weight| (Molchanov et al. 2019), the gradient that of the cross-entropy towards the network's
    own answers. lr: of the fine-tuning that follows (`fer_lab.deploy.distill`).

    Raises:
        FerLabError: both targets, one out of range, or an unknown importance.
    """

    macs: float | None = None
    latency_ms: float | None = None
    importance: Literal["l1", "l2", "taylor"] = "l2"
    lr: float = 5e-4

    def __post_init__(self) -> None:
        if self.macs is not None and self.latency_ms is not None:
            raise FerLabError("export.prune has two targets: give macs or latency_ms, and null for the other")
        if self.macs is not None and not 0 < self.macs < 1:
            raise FerLabError(f"export.prune.macs={self.macs} is no share: give a number between 0 and 1")
        if self.latency_ms is not None and not self.latency_ms > 0:
            raise FerLabError(f"export.prune.latency_ms={self.latency_ms} is no time: give milliseconds above 0")
        if self.importance not in ("l1", "l2", "taylor"):
            raise FerLabError(f"export.prune.importance={self.importance} is unknown: choose l1, l2 or taylor")

    @property
    def name(self) -> str | None:
        """Of the pruned network in the ladder; None where nothing is pruned."""
        if self.macs is not None:
            return f"pruned to {self.macs:.2f} MACs"
        return None if self.latency_ms is None else f"pruned to {self.latency_ms:g} ms"

    def __call__(
        self, network: Network, faces: np.ndarray, trace: Callable[[Network], onnx.ModelProto]
    ) -> tuple[Network, dict[str, Any]]:
        """A pruned copy, not fine-tuned, and what was done: macs_before, macs_after, kept (their ratio) and latency_ms.

        Args:
            faces: training faces, uint8 N×H×W×C. trace: a network to its FP32 graph, for a latency target.

        Raises:
            FerLabError: the network meets the latency already, or cannot be pruned so far; torch-pruning is not
                installed.
        """
        found: dict[str, Any] = {"importance": self.importance, "latency_ms": None}
        if self.macs is not None:
            pruned = prune(network, self.macs, faces, self.importance)
        else:
            assert self.latency_ms is not None
            made: dict[float, tuple[Network, float]] = {}

            def measure(share: float) -> float:
                candidate = network if share == 1 else prune(network, share, faces, self.importance)
                made[share] = (candidate, milliseconds(trace(candidate), faces[:1]))
                return made[share][1]

            share = share_for(measure, self.latency_ms)
            pruned, found["latency_ms"] = made[share]
        before, after = (count_macs(each, faces) for each in (network, pruned))
        return pruned, {**found, "macs_before": before, "macs_after": after, "kept": round(after / before, 4)}


def prune(network: Network, share: float, faces: np.ndarray, importance: str = "l2") -> Network:
    """A copy with at most `share` of the multiply-adds, every layer narrower by about the same ratio, in eval mode.

    The logits stay as many. BatchNorm's statistics are still those of the whole network. faces: uint8 N×H×W×C, of which
    the first trace the network and give taylor's gradients.

    Raises:
        FerLabError: torch-pruning is not installed, or layers of ROUND_TO channels leave more than `share`.
    """
    pruning = optional("torch_pruning", "prune")
    pruned = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    for parameter in pruned.parameters():
        parameter.requires_grad_(True)  # the tracer follows gradients
    preprocess, pruned.preprocess = pruned.preprocess, nn.Identity()
    with torch.no_grad():
        images = preprocess(torch.from_numpy(np.array(faces[: max(32, TRACE_FACES)])))
    classifier = [module for module in pruned.head.modules() if isinstance(module, nn.Linear)][-1]
    pruner = pruning.BasePruner(
        pruned,
        images[:TRACE_FACES],
        importance=_importance(pruning, importance),
        pruning_ratio=0.95,
        iterative_steps=STEPS,
        ignored_layers=[classifier],
        round_to=ROUND_TO,
    )
    before = count_macs(network, faces)
    for _ in range(STEPS):
        if importance == "taylor":
            pruned.zero_grad()
            logits = pruned(images)
            F.cross_entropy(logits, logits.detach().argmax(1)).backward()
        pruner.step()
        if _macs_of(pruned, images) <= share * before:
            break
    else:
        raise FerLabError(f"export.prune: this network cannot be pruned to {share:.2f} of its MACs: aim for more")
    pruned.zero_grad()
    with torch.no_grad():
        pruned.backbone.features = pruned.backbone(images[:1]).shape[1]
    pruned.preprocess = preprocess
    return pruned


def share_for(measure: Callable[[float], float], wanted: float) -> float:
    """The largest share of multiply-adds, found by bisection, whose latency is at most `wanted`.

    measure: a share in (0, 1] to milliseconds; the share returned is one that it was asked for.

    Raises:
        FerLabError: the whole network is as fast, or no share tried is fast enough.
    """
    whole = measure(1.0)
    if whole <= wanted:
        raise FerLabError(f"export.prune.latency_ms={wanted:g} is met without pruning ({whole:.2f} ms): ask for less")
    low, high, best = 0.0, 1.0, None
    share = wanted / whole  # latency is about proportional
    for _ in range(BISECTIONS):
        latency = measure(share)
        if latency <= wanted:
            low, best = share, share
            if latency >= (1 - WITHIN) * wanted:
                break
        else:
            high = share
        share = (low + high) / 2
    if best is None:
        raise FerLabError(f"export.prune.latency_ms={wanted:g} was not reached by pruning: ask for more")
    return best


def milliseconds(graph: onnx.ModelProto, face: np.ndarray, rounds: int = 5, iterations: int = 20) -> float:
    """Median latency of a graph faces -> logits on one face (uint8 1×H×W×C) in ONNX Runtime, one thread; the best
    round's, because others only disturb."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        onnx.save(graph, path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: np.ascontiguousarray(face)}
    medians = []
    for _ in range(rounds):
        calls = []
        for _ in range(iterations + 3):
            started = time.perf_counter()
            session.run(None, fed)
            calls.append(time.perf_counter() - started)
        medians.append(float(np.median(calls[3:])))
    return 1e3 * min(medians)


def count_macs(network: Network, faces: np.ndarray) -> int:
    """Multiply-adds of one face, as a run's record counts them."""
    return int(describe_network(network, faces.shape[1], faces.shape[3])["macs"])


def _macs_of(body: nn.Module, images: torch.Tensor) -> int:
    """Multiply-adds of one image (float32 1×3×S×S) behind the preprocessing, which has none."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        body(images[:1])
    return int(counter.get_total_flops()) // 2


def _importance(pruning: Any, name: str) -> Any:
    if name == "taylor":
        return pruning.importance.GroupTaylorImportance()
    return pruning.importance.GroupMagnitudeImportance(p=1 if name == "l1" else 2)
