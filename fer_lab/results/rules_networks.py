"""Rules about networks: parameter counts and file sizes recomputed from the configs, speeds from each other."""

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fer_lab.models.network import build_network, describe_network
from fer_lab.results.findings import AGREES, CONTRADICTS, UNCHECKED, Finding, finding, merged
from fer_lab.results.intervals import Interval
from fer_lab.results.published import PrintedNetwork, Published
from fer_lab.schema import CONF_DIR, compose

#: Keras' EfficientNet has a Normalization layer inside: mean and variance of three channels, and a count.
_KERAS_NORMALIZATION = {"efficientnet": 7}
#: A file may be larger than its weights: the graph; integer files hold scales and int32 biases as well.
_OVERHEAD = {32: 1.02, 16: 1.04, 8: 1.15}
#: Megabytes as written: 10^6 bytes, or 2^20 as file managers count.
_MEGABYTES = (1e6, 2.0**20)
#: Classes of heads that are tried: a head left on from ImageNet has 1000.
_IMAGENET_CLASSES = 1000
#: The count of parameters does not depend on the input; small and grey is quick.
_SIZE, _CHANNELS = 32, 1


@dataclass(frozen=True)
class Parameters:
    """A network's parameters without and with BatchNorm's moving statistics, which Keras counts."""

    learned: int
    with_statistics: int


@functools.cache
def parameters(backbone: str, head: str, classes: int) -> Parameters:
    """Count a whole network's parameters; backbone and head are files of conf/."""
    cfg = compose("train", [f"backbone={backbone}", f"head={head}"])
    network = build_network(cfg, classes)
    statistics = [b for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    learned = sum(p.numel() for p in network.parameters())
    return Parameters(learned, learned + sum(b.numel() for b in statistics))


@functools.cache
def parameters_without_top(backbone: str) -> Parameters:
    """Count a backbone's parameters as Keras' `include_top=False` has them, its own layers included."""
    network = build_network(compose("train", [f"backbone={backbone}", "head=linear"]), classes=7)
    extra = sum(count for family, count in _KERAS_NORMALIZATION.items() if backbone.startswith(family))
    keras = describe_network(network, _SIZE, _CHANNELS)["parameters_keras_no_top"] + extra
    return Parameters(sum(p.numel() for p in network.backbone.parameters()), keras)


def parameter_count(paper: Published) -> Iterator[Finding]:
    """Printed parameters are those of the named network, counted as Keras counts a model without top."""
    rule = "parameter_count"
    for name, table in paper.tables.items():
        found = []
        for row, cell in table.column("parameters_m").items():
            if row not in paper.networks:
                sentence = f"No network is given for {row}."
                yield Finding(rule, f"{name}, {row}", f"{cell} M", "no network", UNCHECKED, sentence)
                continue
            count = parameters_without_top(paper.networks[row].backbone)
            exact = Interval(count.with_statistics, count.with_statistics)
            holds = exact.meets(Interval.printed(cell, 1e6))
            sentence = (
                f"{row} without top has {count.with_statistics:,} parameters as Keras counts them "
                f"({count.learned:,} without BatchNorm's moving statistics)."
            )
            found.append(finding(rule, f"{name}, {row}", f"{cell} M", exact, holds, sentence, digits=0))
        # Every count is worth reading, so agreeing rows are not merged.
        yield from found


def _bits(row: str) -> int | None:
    """Bits of a weight from a row's name (`FP32`, `INT8 TFLite`)."""
    match = re.match(r"(?:FP|FLOAT|INT|UINT)(\d+)\b", row.strip().upper())
    return int(match[1]) if match and int(match[1]) in _OVERHEAD else None


def _bytes(count: Parameters, bits: int) -> Interval:
    """Size of a file: at least the learned weights, at most those with statistics and the format's overhead."""
    return Interval(count.learned * bits / 8, count.with_statistics * bits / 8 * _OVERHEAD[bits])


def _fits(cell: str, size: Interval) -> bool:
    return any(Interval.printed(cell, unit).meets(size) for unit in _MEGABYTES)


def _sizes(paper: Published) -> Iterator[tuple[str, str, str, int, PrintedNetwork]]:
    """Table, row, printed size, bits and network of every file whose size is printed."""
    for name, table in paper.holding("files").items():
        network = paper.networks.get(table.network or "")
        for row, cell in table.column("size_mb").items():
            if network and (bits := _bits(row)):
                yield name, row, cell, bits, network


def size_from_parameters(paper: Published) -> Iterator[Finding]:
    """A file's size is the described network's parameters times the bytes of each; with the other heads beside it."""
    for name, row, cell, bits, network in _sizes(paper):
        if network.head is None or network.classes is None:
            continue
        counts: dict[Parameters, str] = {}
        for head in (network.head, *_options("head")):  # heads that differ in dropout alone are of one size
            counts.setdefault(parameters(network.backbone, head, network.classes), head)
        said = [
            f"head {head} {count.learned:,} parameters ({count.with_statistics:,} with moving statistics), "
            f"{count.learned * bits / 8e6:.1f} MB ({count.with_statistics * bits / 8e6:.1f} MB)"
            for count, head in counts.items()
        ]
        sentence = f"At {bits} bits {network.backbone} with {network.classes} classes has with the described {said[0]}"
        sentence += "".join(f"; with {other}" for other in said[1:]) + "."
        size = _bytes(next(iter(counts)), bits)
        megabytes, holds = Interval(size.low / 1e6, size.high / 1e6), _fits(cell, size)
        where, printed = f"{name}, {row}", f"{cell} MB"
        yield finding("size_from_parameters", where, printed, megabytes, holds, sentence, digits=2, suffix=" MB")


def size_of_known_network(paper: Published) -> Iterator[Finding]:
    """Of all widths, heads and class counts known here, the described network is the one that fits the file's size."""
    rule = "size_of_known_network"
    for name, row, cell, bits, network in _sizes(paper):
        if network.head is None or network.classes is None:
            continue
        family = network.backbone.rsplit("_", 1)[0]
        tried: dict[Parameters, tuple[str, str, int]] = {}
        for backbone, head in itertools.product(_options("backbone"), (network.head, *_options("head"))):
            if backbone.rsplit("_", 1)[0] == family:
                for classes in (network.classes, _IMAGENET_CLASSES):
                    tried.setdefault(parameters(backbone, head, classes), (backbone, head, classes))
        fitting = [one for count, one in tried.items() if _fits(cell, _bytes(count, bits))]
        where, printed = f"{name}, {row}", f"{cell} MB"
        if not fitting:
            sentence = f"None of {len(tried)} networks ({family}, all widths and heads) has this size."
            yield Finding(rule, where, printed, "none", UNCHECKED, sentence)
            continue
        names = [f"{backbone} with head {head} and {classes} classes" for backbone, head, classes in fitting]
        own = (network.backbone, network.head, network.classes) in fitting
        count = parameters(*fitting[0])
        sizes = " or ".join(
            f"{count.learned * bits / 8 / unit:.1f} {word}"
            for unit, word in zip(_MEGABYTES, ("MB", "MiB"), strict=True)
        )
        many = "only one fits" if len(fitting) == 1 else f"{len(fitting)} fit"
        sentence = f"Of {len(tried)} networks {many} {printed}: {'; '.join(names)}"
        sentence += f" ({count.learned:,} parameters, {sizes})." if len(fitting) == 1 else "."
        yield Finding(rule, where, printed, "; ".join(names), AGREES if own else CONTRADICTS, sentence)


@functools.cache
def _options(group: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")))


def size_ratio(paper: Published) -> Iterator[Finding]:
    """A file with fewer bits is smaller, but by no more than the ratio of the bits."""
    for name, table in paper.holding("files").items():
        sizes = [(row, cell, bits) for row, cell in table.column("size_mb").items() if (bits := _bits(row))]
        for (row, cell, bits), (other, smaller, fewer) in itertools.pairwise(sizes):
            ratio = Interval.of(lambda a, b: a / b, Interval.printed(cell), Interval.printed(smaller))
            bound = Interval(min(1.0, bits / fewer), max(1.0, bits / fewer))
            sentence = f"{row} is {ratio.text(2)} times the size of {other}; the bits are {bits} and {fewer}."
            where, printed = f"{name}, {row} over {other}", f"{cell} MB over {smaller} MB"
            holds = bound.meets(ratio)
            yield finding("size_ratio", where, printed, bound, holds, sentence, digits=2, suffix=" times")


def fps_from_latency(paper: Published) -> Iterator[Finding]:
    """Frames per second are 1000 over the milliseconds a frame."""
    for name, table in paper.tables.items():
        found, latencies = [], table.column("latency_ms")
        for row, cell in table.column("fps").items():
            if row in latencies:
                implied = Interval.of(lambda ms: 1000 / ms, Interval.printed(latencies[row]))
                holds = implied.meets(Interval.printed(cell))
                sentence = f"{latencies[row]} ms a frame are {implied.text(2)} frames per second."
                where = f"{name}, {row}"
                found.append(finding("fps_from_latency", where, f"{cell} FPS", implied, holds, sentence, digits=2))
        yield from merged("fps_from_latency", name, found, "1000 over the latency")


def ratio(paper: Published) -> Iterator[Finding]:
    """A claimed ratio is that of the two numbers it is about."""
    for said in paper.ratios:
        table = paper.tables[said.table]
        cells = [table.cell(row, said.quantity) for row in (said.row, said.over)]
        if None in cells:
            continue
        implied = Interval.of(lambda a, b: a / b, *(Interval.printed(str(cell)) for cell in cells))
        sentence = f"{said.table} prints {cells[0]} and {cells[1]}, a ratio of {implied.text(2)}."
        holds = implied.meets(Interval.printed(said.value))
        yield finding("ratio", said.where, f"{said.value}x", implied, holds, sentence, digits=2)


RULES = (parameter_count, size_from_parameters, size_of_known_network, size_ratio, fps_from_latency, ratio)
