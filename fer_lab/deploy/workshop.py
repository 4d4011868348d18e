"""Builds the file of a rung of the ladder: the network it asks for, as a graph or a flatbuffer, in its precision."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.progress import track

from fer_lab.data.dataset import FaceSplit
from fer_lab.deploy import openvino, qat, refit, tflite
from fer_lab.deploy.activations import Gates, freeze_gates, mean_gates, squeeze_excites
from fer_lab.deploy.distill import Distillation, divergence, remeasure
from fer_lab.deploy.ladder import DISTILLED, QAT, TRAINED, Rung, untrained
from fer_lab.deploy.metadata import ModelMetadata
from fer_lab.deploy.onnx import save, trace
from fer_lab.deploy.prune import Pruning
from fer_lab.deploy.quantization import StaticInt8, draw_balanced
from fer_lab.deploy.reconstruct import reconstruct
from fer_lab.deploy.relu6 import fit_relu6
from fer_lab.deploy.rewrite import fold_preprocessing, pool_globally, slim
from fer_lab.deploy.tflite_ahead import Conversions
from fer_lab.evaluation.run import LoadedRun
from fer_lab.models.network import Network

SUFFIX = {"onnxruntime": ".onnx", "openvino": ".xml", "litert": ".tflite"}
#: Steps from the trained network to another one, by name.
CHANGES: dict[str, Callable[[Network, np.ndarray, Gates], Network]] = {
    "gates frozen": lambda network, _, gates: freeze_gates(network, gates),
    "two thirds of the gates frozen": lambda network, _, gates: freeze_gates(network, gates, 2 / 3),
    "relu6": lambda network, faces, gates: fit_relu6(freeze_gates(network, gates, 0), faces),
}
DRAWN = 512  # training faces at least, as many of each class, of which every step takes what it wants
DRAFT_FACES, LITERT_FACES, OPENVINO_FACES = 4, 128, 300  # calibration faces: a draft's latency depends on none
FITTED, HELD = 768, 128  # faces that a change is reconstructed on, and that tell how near it comes
GATED = 128  # faces whose gates are averaged
ASKED = 1024  # training faces in memory at a time
#: How many times as long as asking FP32 about a face on one core, on 2 cores: fitting with it; a pass of distillation;
#: what comes with each face that a last layer is refitted on, validation and test included. And seconds of any rung.
FITTING, DISTILLING, ASKING, ANY = 3.5, 1.3, 1.2, 30.0


class Workshop:
    """Builds the file of a rung, as a draft (nothing fitted, few calibration faces: for its latency) or for good."""

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
        """training: for ranges (class-balanced), fits and distillation. quantizer: None where only float rungs are
        built. pruning: None for none. refit_faces: on how many an INT8 file's last layer is fitted anew; 0: left."""
        self.trained, self.macs, self.training = run.network, run.record["model"]["macs"], training
        unknown = np.full((len(training), len(run.class_names)), np.nan, np.float32)
        self._known = defaultdict[str, np.ndarray](unknown.copy)  # logits of training faces by network, NaN till asked
        count = max(DRAWN, quantizer.calibration_faces if quantizer else 0)
        self.faces = training.images[draw_balanced(training.labels, count, seed)]
        self.quantizer, self.distillation, self.seed = quantizer, distillation, seed
        self.pruning = pruning or Pruning()
        # not balanced: the fit is to hold where faces are asked
        self.refit_rows = np.sort(np.random.default_rng(seed).permutation(len(training))[:refit_faces])
        self.distilled: dict[str, dict[str, Any]] = {}  # what was done, by network
        self._made: dict[tuple, Any] = {}
        self._conversions = Conversions()

    def draft_ahead(self, rungs: Iterable[Rung], metadata: ModelMetadata) -> None:
        """Begin what the drafts of these rungs will need of LiteRT's converter, beside what is drafted until then."""
        for rung in rungs:
            with suppress(Exception):  # what goes wrong is said where the rung is drafted
                if rung.runtime == "litert":
                    network = self._for_litert(rung, draft=True)
                    folded = fold_preprocessing(network, metadata.face_shape)
                    self._conversions.ask(self._converted(network, metadata), folded, metadata)

    @contextmanager
    def beside_conversions(self) -> Iterator[None]:
        """Within it torch has a thread less if a conversion is going on: two that share a core wait for each other."""
        threads = torch.get_num_threads()
        torch.set_num_threads(max(threads - self._conversions.busy, 1))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def close(self) -> None:
        """End the process that converts, if there is one."""
        self._conversions.close()

    def write(self, rung: Rung, metadata: ModelMetadata, path: Path, draft: bool) -> Path:
        """Build the rung's file at `path`, whose suffix follows the runtime. Raises what the runtime's tools raise."""
        path = path.with_suffix(SUFFIX[rung.runtime])
        if rung.runtime == "onnxruntime":
            graph = self._onnx(rung, draft)
            return save(slim(graph) if rung.precision == "int8" else graph, metadata, path)
        if rung.runtime == "openvino":
            model = self._openvino(rung, metadata, draft) if rung.precision == "int8" else self.graph(rung, draft)
            return openvino.save_openvino(model, metadata, path, "bf16" if rung.precision == "bf16" else "f32")
        kind = str(tflite.stand_in(metadata.calibration))
        content = self._once(("litert", rung.name, draft, kind), lambda: self._tflite(rung, metadata, draft))
        return tflite.write(content, metadata, path, named=rung.precision == "fp32")

    def seconds(self, rung: Rung, pace: float) -> float:
        """About how long a rung takes until its file ships, its network's fit and fine-tuning included.

        pace: milliseconds of the trained network in FP32, one face, one thread.
        """
        unknown = np.isnan(self._known[TRAINED][self.refit_rows, 0]).sum()  # asked about once for all rungs
        faces = ASKING / 2 * (len(self.refit_rows) + unknown)
        if rung.network == TRAINED or ("network", rung.network, False) in self._made:
            return ANY / 2 + faces * pace / 1e3
        steps = [rung.network]
        while steps[-1].endswith((DISTILLED, QAT)):
            faces += DISTILLING * self.distillation.tmacs * 1e12 / self.macs
            steps.append(untrained(steps[-1]))
        if steps[-1] != TRAINED and ("network", steps[-1], False) not in self._made:
            parts = steps[-1].split(" + ")
            pruned = self.pruning.name in parts  # fine-tuned, not fitted
            faces += DISTILLING * self.distillation.tmacs * 1e12 / self.macs if pruned else FITTING * FITTED
        return ANY + faces * pace / 1e3

    def network(self, name: str, draft: bool) -> Network:
        """The network of that name; a draft is neither fitted nor trained."""

        def changed() -> Network:
            if name.endswith((DISTILLED, QAT)):
                return self._tuned(name, draft)
            network, about = self.trained, dict[str, Any]()
            for change in name.split(" + "):
                if change == self.pruning.name:
                    network, about = self._pruned()
                else:
                    network = CHANGES[change](network, self._calibration(draft, FITTED), self._gates(network, draft))
            if draft:
                remeasure(network, self.faces[:DRAFT_FACES])
                return network
            # a pruned network has other layers, which cannot be fitted to the trained one's
            network, done = self._recovered(network) if about else self._fitted(network)
            self.distilled[name] = about | done
            return network

        return self.trained if name == TRAINED else self._once(("network", name, draft), changed)

    def _tuned(self, name: str, draft: bool) -> Network:
        """A network whose last step is a fine-tuning."""
        network = self.network(untrained(name), draft)
        if draft:
            return network
        network, done = self._distilled(network, aware=name.endswith(QAT))
        self.distilled[name] = {"before": self.distilled.get(untrained(name)), **done}
        return network

    def _distilled(self, network: Network, aware: bool = False) -> tuple[Network, dict[str, Any]]:
        """Fine-tuned, and what was done; aware: of the quantisation to come."""
        given = self._answers, self.training, self.macs, self.seed
        if aware:
            return qat.fine_tune(network, self.faces, self.distillation, *given)
        return self.distillation(network, *given)

    def _recovered(self, network: Network) -> tuple[Network, dict[str, Any]]:
        """A pruned network, fine-tuned, and what was done."""
        faster = replace(self.distillation, lr=self.pruning.lr)
        return faster(network, self._answers, self.training, self.macs, self.seed, settle=True)

    def _fitted(self, network: Network) -> tuple[Network, dict[str, Any]]:
        """A changed network, brought back layer by layer to what the trained one answers; how near it came, in nats on
        faces that the fit did not see."""
        drawn = np.random.default_rng(self.seed).permutation(len(self.training))
        held, own = np.sort(drawn[:HELD]), np.sort(drawn[HELD : HELD + FITTED])
        rows, faces = own if len(own) else held, self.training.images
        network, answers = reconstruct(network, self.trained, faces[rows], self.seed)
        self._known[TRAINED][rows] = answers  # they need not be asked for any more
        return network, {"reconstructed": divergence(network, self.trained, faces[held])}

    def _answers(self, rows: np.ndarray, name: str = TRAINED) -> np.ndarray:
        """A network's logits of training faces, float32 N×K; each face is asked about once."""
        known = self._known[name]
        missing = np.unique(rows[np.isnan(known[rows, 0])])
        rung = Rung("fp32", "onnxruntime", "fp32", name)
        logits_of = self._once(("asked", name), lambda: refit.asked(self.graph(rung)))
        parts = [missing[start : start + ASKED] for start in range(0, len(missing), ASKED)]
        for part in track(parts, f"asking the {name} network", console=Console(stderr=True), transient=True):
            known[part] = logits_of(self.training.images[part])
        return known[rows]

    def graph(self, rung: Rung, draft: bool = False) -> onnx.ModelProto:
        """The rung's network as a float graph faces -> logits."""

        def traced() -> onnx.ModelProto:
            network, shape = self.network(rung.network, draft), self.faces.shape[1:]
            return pool_globally(trace(fold_preprocessing(network, shape), shape))

        return self._once(("graph", rung.network, draft and rung.network != TRAINED), traced)

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
            return model if draft else self._refitted(refit.refit_onnx, rung, model, graph)

        return self._once(("onnx", rung.name, draft), quantized)

    def _openvino(self, rung: Rung, metadata: ModelMetadata, draft: bool) -> Any:
        def refitted() -> Any:
            model = openvino.read_graph(self.graph(rung, draft))
            faces = self._calibration(draft, OPENVINO_FACES)
            quantized = openvino.quantize(model, faces, **rung.settings)
            return quantized if draft else self._refitted(refit.refit_openvino, rung, quantized, self.graph(rung))

        return self._once(("openvino", rung.name, draft), refitted)

    def _tflite(self, rung: Rung, metadata: ModelMetadata, draft: bool) -> bytes:
        network = self._for_litert(rung, draft)
        key = self._converted(network, metadata)
        folded = fold_preprocessing(network, metadata.face_shape)
        if not draft and rung.precision == "int8" and key not in self._made:
            self._conversions.ask(key, folded, metadata)
            if len(self.refit_rows):
                self._wanted(rung)  # meanwhile
        content = self._once(key, lambda: self._conversions.get(key, folded, metadata))
        if rung.precision == "fp32":
            return content
        precision: tflite.Precision = "dynamic" if rung.precision == "dynamic" else "int8"
        faces = self._calibration(draft, LITERT_FACES)
        quantized = tflite.quantize(content, precision, faces, **rung.settings, bias_correction=not draft)
        return quantized if draft else self._refitted(refit.refit_tflite, rung, quantized)

    def _for_litert(self, rung: Rung, draft: bool) -> Network:
        """The rung's network; for INT8 without gates that hardly move, as LiteRT cannot scale the zeros that a constant
        gate is made of: it refuses the file, or aborts."""
        network = self.network(rung.network, draft)

        def steady() -> Network:
            frozen = freeze_gates(network, self._gates(network, draft), 0)
            return frozen if len(squeeze_excites(frozen)) < len(squeeze_excites(network)) else network

        if rung.precision != "int8" or not squeeze_excites(network):
            return network
        return self._once(("steady", rung.network, draft), steady)

    def _gates(self, network: Network, draft: bool) -> Gates:
        """What the squeeze-excites of a network do; of the trained one, which most changes ask for, measured once."""
        faces = self._calibration(draft, GATED)
        if network is not self.trained:
            return mean_gates(network, faces)
        return self._once(("gates", draft), lambda: mean_gates(network, faces))

    def _converted(self, network: Network, metadata: ModelMetadata) -> tuple:
        """Key of the network as a float flatbuffer. Networks are kept, so that none takes another's id."""
        return "tflite", id(network), str(tflite.stand_in(metadata.calibration))

    def _refitted(self, fit: Callable[..., Any], rung: Rung, *models: Any) -> Any:
        """The first of `models` with its last layer fitted, where that is wanted."""
        if not len(self.refit_rows):
            return models[0]
        return fit(*models, self.training.images[self.refit_rows], self._wanted(rung))

    def _wanted(self, rung: Rung) -> np.ndarray:
        """What a rung's last layer is fitted to: the trained network's logits, or a fine-tuned one's own."""
        steps = rung.network.split(" + ")
        tuned = steps[-1] in (DISTILLED, QAT) or self.pruning.name in steps
        return self._answers(self.refit_rows, rung.network if tuned else TRAINED)

    def _calibration(self, draft: bool, count: int) -> np.ndarray:
        """Evenly spread, because the faces come sorted by where they lie in the split."""
        few = DRAFT_FACES if draft else min(count, len(self.faces))
        return self.faces[np.linspace(0, len(self.faces) - 1, few).astype(int)]

    def _once(self, key: tuple, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]
