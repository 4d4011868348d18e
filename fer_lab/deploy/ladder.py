"""The rungs of the ladder that `fer_lab.deploy.search` climbs, and which of them stand beside each other.

What they vary: runtime, precision, which operators stay float, granularity and ranges of INT8, and which of the
network's operations were replaced by cheaper ones. Preprocessing is folded into the first convolution in all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fer_lab.deploy.activations import curved, squeeze_excites
from fer_lab.models.network import Network

Runtime = Literal["onnxruntime", "openvino", "litert"]
Precision = Literal["fp32", "bf16", "dynamic", "int8"]
TRAINED = "trained"
DISTILLED = "distilled"  # fine-tuned so (fer_lab.deploy.distill): the last step of a changed network's name
QAT = "quantisation-aware"  # or so (fer_lab.deploy.qat)


@dataclass(frozen=True)
class Rung:
    """One choice.

    name: of the table. runtime, precision: of the file. network: "trained", or what became of it, joined by " + ":
    names of `fer_lab.deploy.workshop.CHANGES`, of the pruning, DISTILLED or QAT. settings: of the runtime's quantiser,
    beside what conf/quantization says.
    """

    name: str
    runtime: Runtime
    precision: Precision
    network: str = TRAINED
    settings: Mapping[str, Any] = field(default_factory=dict)


def rungs(
    network: Network, runtimes: Sequence[str], only: str | None = None, pruned: str | None = None, bf16: bool = False
) -> list[Rung]:
    """The rungs that make sense for a network.

    runtimes: which to try. only: a regular expression that names must match somewhere; float ones stay, for comparison.
    pruned: name of the pruned network, if there is one. bf16: whether the processor computes in it.
    """
    acts, gates = curved(network), bool(squeeze_excites(network))

    def integer(name: str) -> bool:
        """Whether LiteRT's fast kernels compute it: they lack hard-swish, whatever becomes of the gates (.7 × FP32)."""
        return "hard_swish" not in acts or "relu6" in name

    changed = ["gates frozen", "two thirds of the gates frozen"] * gates
    if acts:
        changed += ["relu6"] + ["gates frozen + relu6"] * gates
    floats = [pruned] if pruned else []
    taught = [f"{name} + {DISTILLED}" for name in changed]
    changed += [*taught, *floats, QAT, *(f"{name} + {QAT}" for name in changed + floats)]
    found = [
        Rung("fp32", "onnxruntime", "fp32"),
        *(Rung(f"fp32, {name}", "onnxruntime", "fp32", name) for name in floats),
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
        Rung("fp32", "openvino", "fp32"),
        *(Rung(f"fp32, {name}", "openvino", "fp32", name) for name in floats),
        *[Rung("bf16", "openvino", "bf16")] * bf16,
        Rung("int8", "openvino", "int8"),
        Rung("int8, stem too", "openvino", "int8", settings={"float_stem": False}),
        Rung("int8, symmetric", "openvino", "int8", settings={"preset": "performance"}),
        *(Rung(f"int8, {name}", "openvino", "int8", name) for name in changed),
        Rung("fp32", "litert", "fp32"),
        *(Rung(f"fp32, {name}", "litert", "fp32", name) for name in floats),
        Rung("dynamic range", "litert", "dynamic"),
        Rung("int8", "litert", "int8"),
        *(Rung(f"int8, {name}", "litert", "int8", name) for name in changed if integer(name)),
    ]
    chosen = [rung for rung in found if rung.runtime in runtimes]
    return [r for r in chosen if only is None or r.precision == "fp32" or re.search(only, f"{r.runtime} {r.name}")]


def untrained(network: str) -> str:
    """The network that the last step of `network`, a fine-tuning, started from."""
    return network.rpartition(" + ")[0] or TRAINED


def changes(network: str) -> int:
    """How many changes lie between the trained network and this one, fine-tuning not counted."""
    return len([step for step in network.split(" + ") if step not in (TRAINED, DISTILLED, QAT)])


def twin(rung: Rung, ladder: Sequence[Rung]) -> int | None:
    """Place in the ladder of the rung of the same network without its fine-tuning, or of the same settings but for how
    ranges are measured; None for rungs without one.

    Their files are laid out alike and are as fast.
    """
    if rung.network.endswith((DISTILLED, QAT)):
        plain = replace(rung, name="", network=untrained(rung.network))
    elif "calibration" in rung.settings:
        others = {name: value for name, value in rung.settings.items() if name != "calibration"}
        plain = replace(rung, name="", settings=others)
    else:
        return None
    return next((i for i, other in enumerate(ladder) if replace(other, name="") == plain), None)
