"""The rungs of the ladder that `fer_lab.deploy.search` climbs, and the workshop that builds their files.

What they vary: runtime, precision, which operators stay float, granularity and ranges of INT8, whether preprocessing is
folded into the first convolution, and which of the network's operations were replaced by cheaper ones.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy import openvino, qat, refit, tflite
from fer_lab.deploy.activations import curved, freeze_gates, silu_for_all, squeeze_excites
from fer_lab.deploy.distill import Distillation, divergence, remeasure
from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.onnx import save, trace
from fer_lab.deploy.prune import Pruning
from fer_lab.deploy.quantization import StaticInt8, draw_balanced
from fer_lab.deploy.reconstruct import reconstruct
from fer_lab.deploy.relu6 import fit_relu6
from fer_lab.deploy.rewrite import fold_preprocessing, pool_globally
from fer_lab.evaluation.run import LoadedRun
from fer_lab.models.network import Network

Runtime = Literal["onnxruntime", "openvino", "litert"]
Precision = Literal["fp32", "bf16", "dynamic", "int8"]
SUFFIX = {"onnxruntime": ".onnx", "openvino": ".xml", "litert": ".tflite"}
TRAINED = "trained"
QAT = "quantisation-aware"  # fine-tuned so (fer_lab.deploy.qat): the last step of a network's name
#: Steps from the trained network to another one, by name.
CHANGES: dict[str, Callable[[Network, np.ndarray], Network]] = {
    "gates frozen": freeze_gates,
    "two thirds of the gates frozen": lambda network, faces: freeze_gates(network, faces, 2 / 3),
    "relu6": lambda network, faces: fit_relu6(freeze_gates(network, faces, 0), faces),
    "silu": lambda network, _: silu_for_all(network),
}
DRAFT_FACES, LITERT_FACES, OPENVINO_FACES = 4, 128, 300  # calibration faces: a draft's latency depends on none
FITTED, HELD, ENOUGH = 1024, 256, 0.08  # faces a change is reconstructed and judged on; nats that need no distillation


@dataclass(frozen=True)
class Rung:
    """One choice.

    name: of the table. runtime, precision: of the file. network: "trained", or names of :data:`CHANGES`, of the pruning
    or QAT joined by " + ", which are distilled from it. folded: preprocessing folded into the first convolution.
    settings: of the runtime's quantiser, beside what conf/quantization says.
    """

    name: str
    runtime: Runtime
    precision: Precision
    network: str = TRAINED
    folded: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)


def rungs(network: Network, runtimes: Sequence[str], only: str | None = None, pruned: str | None = None) -> list[Rung]:
    """The rungs that make sense for a network.

    runtimes: which to try. only: a regular expression that names must match somewhere; float ones stay, for comparison.
    pruned: name of the pruned network, if there is one.
    """
    acts, gates = curved(network), bool(squeeze_excites(network))

    def integer(name: str) -> bool:
        """Whether LiteRT's fast kernels compute it: they lack hard-swish, whatever becomes of the gates (.7 × FP32)."""
        return "hard_swish" not in acts or "relu6" in name or "silu" in name

    changed = ["gates frozen", "two thirds of the gates frozen"] * gates
    if acts:
        changed += ["relu6"] + ["gates frozen + relu6"] * gates + ["silu"] * ("hard_swish" in acts)
    floats = [pruned] if pruned else []
    changed += floats
    changed += [QAT, *(f"{name} + {QAT}" for name in changed)]
    found = [
        Rung("fp32", "onnxruntime", "fp32", folded=False),
        Rung("fp32, folded", "onnxruntime", "fp32"),
        *(Rung(f"fp32, {name}", "onnxruntime", "fp32", name) for name in floats),
        Rung("int8, preprocessing as traced", "onnxruntime", "int8", folded=False),
        Rung("int8", "onnxruntime", "int8"),
        Rung("int8, stem too", "onnxruntime", "int8", settings={"float_stem": False}),
        Rung("int8, per tensor", "onnxruntime", "int8", settings={"per_channel": False, "equalization": True}),
        Rung("int8, percentile", "onnxruntime", "int8", settings={"calibration": "percentile"}),
        Rung("int8, convolutions only", "onnxruntime", "int8", settings={"op_types": ["Conv"]}),
    ]
    if acts:
        kept = {"float_nodes": ["HardSwish$", "HardSigmoid$", "Sigmoid$", "Mul$"]}
        found.append(Rung("int8, activations and gates float", "onnxruntime", "int8", settings=kept))
    found += [Rung(f"int8, {name}", "onnxruntime", "int8", name) for name in changed]
    found += [
        Rung("fp32", "openvino", "fp32", folded=False),
        Rung("fp32, folded", "openvino", "fp32"),
        *(Rung(f"fp32, {name}", "openvino", "fp32", name) for name in floats),
        Rung("bf16", "openvino", "bf16"),
        Rung("int8", "openvino", "int8"),
        Rung("int8, stem too", "openvino", "int8", settings={"float_stem": False}),
        Rung("int8, symmetric", "openvino", "int8", settings={"preset": "performance"}),
        *(Rung(f"int8, {name}", "openvino", "int8", name) for name in changed),
        Rung("fp32, folded", "litert", "fp32"),  # a conversion takes up to a minute, so none unfolded
        *(Rung(f"fp32, {name}", "litert", "fp32", name) for name in floats),
        Rung("dynamic range", "litert", "dynamic"),
        Rung("int8", "litert", "int8"),
        *(Rung(f"int8, {name}", "litert", "int8", name) for name in changed if integer(name)),
    ]
    chosen = [rung for rung in found if rung.runtime in runtimes]
    return [r for r in chosen if only is None or r.precision == "fp32" or re.search(only, f"{r.runtime} {r.name}")]


def untrained(network: str) -> str:
    """The network that quantisation-aware fine-tuning made `network` of."""
    return network.removesuffix(QAT).removesuffix(" + ") or TRAINED


def twin(rung: Rung, ladder: Sequence[Rung]) -> int | None:
    """Place in the ladder of the rung that quantises the same network after training; None for all others.

    Their files are laid out alike and are as fast.
    """
    if not rung.network.endswith(QAT):
        return None
    plain = replace(rung, name="", network=untrained(rung.network))
    return next((i for i, other in enumerate(ladder) if replace(other, name="") == plain), None)


class Workshop:
    """Builds the file of a rung, as a draft (untrained changes, few calibration faces: for its latency) or for good."""

    def __init__(
        self,
        run: LoadedRun,
        training: FaceSplit,
        quantizer: StaticInt8 | None,
        distillation: Distillation,
        seed: int,
        pruning: Pruning | None = None,
        refit_faces: int = 0,
    ) -> None:
        """training: for ranges (class-balanced) and distillation. quantizer: None where only float rungs are built.
        pruning: None for none. refit_faces: on how many the last layer of INT8 files is fitted anew; 0 leaves it."""
        self.trained, self.macs, self.training = run.network, run.record["model"]["macs"], training.images
        count = quantizer.calibration_faces if quantizer else 1
        self.faces = training.images[draw_balanced(training.labels, count, seed)]
        self.quantizer, self.distillation, self.seed = quantizer, distillation, seed
        self.pruning = pruning or Pruning()
        some = np.random.default_rng(seed).permutation(len(training.images))[:refit_faces]
        self.refit_faces = training.images[np.sort(some)]  # not balanced: the fit is to hold where faces are asked
        self.distilled: dict[str, dict[str, Any]] = {}  # what was done, by network
        self._made: dict[tuple, Any] = {}

    def write(self, rung: Rung, metadata: ModelMetadata, path: Path, draft: bool) -> Path:
        """Build the rung's file at `path`, whose suffix follows the runtime. Raises what the runtime's tools raise."""
        path = path.with_suffix(SUFFIX[rung.runtime])
        if rung.runtime == "onnxruntime":
            return save(self._onnx(rung, draft), metadata, path)
        if rung.runtime == "openvino":
            model = self._openvino(rung, metadata, draft) if rung.precision == "int8" else self.graph(rung, draft)
            return openvino.save_openvino(model, metadata, path, "bf16" if rung.precision == "bf16" else "f32")
        return tflite.write(self._tflite(rung, metadata, draft), metadata, path)

    def network(self, name: str, draft: bool) -> Network:
        """The trained network with changes; distilled unless it is a draft."""

        def changed() -> Network:
            network, images, about = self.trained, self.training, dict[str, Any]()
            if name.endswith(QAT):
                network = self.network(untrained(name), draft)
                if draft:
                    return network
                measured = (images, self.faces, self.macs, self.seed)
                network, done = qat.fine_tune(network, self.trained, self.distillation, *measured)
                self.distilled[name] = {"before": self.distilled.get(untrained(name)), **done}
                return network
            for change in name.split(" + "):
                if change == self.pruning.name:
                    network, about = self._pruned()
                else:
                    network = CHANGES[change](network, self._calibration(draft, FITTED))
            if draft:
                remeasure(network, self.faces[:DRAFT_FACES])
                return network
            network, done = self._taught(network, name)
            self.distilled[name] = done | about
            return network

        return self.trained if name == TRAINED else self._once(("network", name, draft), changed)

    def _taught(self, network: Network, name: str) -> tuple[Network, dict[str, Any]]:
        """A changed network, brought back to what the trained one answers: layer by layer, then, where that is not
        enough, by distillation, if it helps on faces that neither saw. A pruned one has other layers: distilled only.
        """
        budget = self.training, self.macs, self.seed
        if self.pruning.name in name.split(" + "):
            return self.distillation(network, self.trained, *budget)
        drawn = np.random.default_rng(self.seed).permutation(len(self.training))
        held, own = (self.training[np.sort(drawn[part])] for part in (slice(HELD), slice(HELD, HELD + FITTED)))
        network = reconstruct(network, self.trained, own if len(own) else held, self.seed)
        about: dict[str, Any] = {"reconstructed": divergence(network, self.trained, held)}
        if about["reconstructed"] <= ENOUGH:
            return network, about
        distilled, done = self.distillation(network, self.trained, *budget, measure=False)
        about |= done | {"distilled": divergence(distilled, self.trained, held)}
        return (distilled if about["distilled"] < about["reconstructed"] else network), about

    def graph(self, rung: Rung, draft: bool = False) -> onnx.ModelProto:
        """The rung's network as a float graph faces -> logits."""

        def traced() -> onnx.ModelProto:
            network, shape = self.network(rung.network, draft), self.faces.shape[1:]
            if not rung.folded:
                return trace(network, shape)
            return pool_globally(trace(fold_preprocessing(network, shape), shape))

        return self._once(("graph", rung.network, rung.folded, draft and rung.network != TRAINED), traced)

    def _pruned(self) -> tuple[Network, dict[str, Any]]:
        shape = self.faces.shape[1:]

        def pruned() -> tuple[Network, dict[str, Any]]:
            network, done = self.pruning(
                self.trained, self.faces, lambda each: pool_globally(trace(fold_preprocessing(each, shape), shape))
            )
            return network, {"pruning": done}

        return self._once(("pruned",), pruned)

    def _onnx(self, rung: Rung, draft: bool) -> onnx.ModelProto:
        if rung.precision != "int8":
            return self.graph(rung, draft)
        assert self.quantizer is not None
        quick = {"bias_correction": False, "calibration": "minmax"} if draft else {}
        quantizer = replace(self.quantizer, **{**rung.settings, **quick})
        faces = self._calibration(draft, quantizer.calibration_faces)

        def quantized() -> onnx.ModelProto:
            graph = self.graph(rung, draft)
            model = quantizer.quantize(graph, faces)
            return model if draft else self._refitted(refit.refit_onnx, model, graph)

        return self._once(("onnx", rung.name, draft), quantized)

    def _openvino(self, rung: Rung, metadata: ModelMetadata, draft: bool) -> Any:
        def refitted() -> Any:
            model = openvino.read_graph(self.graph(rung, draft))
            faces = self._calibration(draft, OPENVINO_FACES)
            quantized = openvino.quantize(model, faces, **rung.settings)
            return quantized if draft else self._refitted(refit.refit_openvino, quantized, self.graph(rung))

        return self._once(("openvino", rung.name, draft), refitted)

    def _tflite(self, rung: Rung, metadata: ModelMetadata, draft: bool) -> bytes:
        network = self.network(rung.network, draft)
        if rung.precision == "int8" and squeeze_excites(network):
            # LiteRT cannot scale the zeros that a constant gate is made of: it refuses the file, or aborts.
            network = self._once(("steady", rung.network, draft), lambda: self._steady(network, draft))

        def converted() -> bytes:
            folded = fold_preprocessing(network, metadata.face_shape) if rung.folded else network
            return tflite.convert(folded, metadata)

        key = ("tflite", id(network), rung.folded, metadata.to_json())  # networks are kept, so that none takes its id
        content = self._once(key, converted)
        if rung.precision == "fp32":
            return content
        precision: tflite.Precision = "dynamic" if rung.precision == "dynamic" else "int8"
        faces = self._calibration(draft, LITERT_FACES)
        quantized = tflite.quantize(content, precision, faces, **rung.settings, bias_correction=not draft)
        return quantized if draft else self._refitted(refit.refit_tflite, quantized)

    def _steady(self, network: Network, draft: bool) -> Network:
        """`network` without gates that hardly move, itself where all do."""
        frozen = freeze_gates(network, self._calibration(draft, FITTED), 0)
        return frozen if len(squeeze_excites(frozen)) < len(squeeze_excites(network)) else network

    def _refitted(self, fit: Callable[..., Any], *models: Any) -> Any:
        """The first of `models` with its last layer fitted to the trained network's logits, where that is wanted."""
        if not len(self.refit_faces):
            return models[0]

        def answers() -> np.ndarray:
            return refit.logits(self.graph(Rung("fp32", "onnxruntime", "fp32")), self.refit_faces)

        return fit(*models, self.refit_faces, self._once(("answers",), answers))

    def _calibration(self, draft: bool, count: int) -> np.ndarray:
        """Evenly spread, because the faces come sorted by where they lie in the split."""
        few = DRAFT_FACES if draft else min(count, len(self.faces))
        return self.faces[np.linspace(0, len(self.faces) - 1, few).astype(int)]

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]
