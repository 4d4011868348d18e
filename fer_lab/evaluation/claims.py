"""What the papers say a classroom does to answers, held against what it did: held, not held or undecided, by rule.

A claim names a scenario and where its mistakes are said to go. Measured is the share of mistakes that go there, of
faces that do not belong there, in the scenario (all severities together), less that on the same faces as they are.
More mistakes alone do not make a claim hold: they have to go there more often than mistakes do anyway.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

REPLICATES = 2000
_TAIL = 0.025
_CHUNK = 250  # replicates at once: 250 × 3,589 weights are a few megabytes

_KEYS = ("mistakes", "share", "clean_mistakes", "clean_share", "difference", "low", "high")
HELD, NOT_HELD, UNDECIDED, NOT_ASKED = "held", "not held", "undecided", "not run"


@dataclass(frozen=True)
class Claim:
    """`paper`: who says so. `scenario`: a key of `SCENARIOS`. `of`: true emotions that are meant, empty for all. `to`:
    where mistakes go."""

    sentence: str
    paper: str
    scenario: str
    of: tuple[str, ...]
    to: tuple[str, ...]


#: Its title is in experiments/paper_a. Paper B reports no fear and scores no conditions of light or pose.
_A = "Radytia and Darusalam 2026 (paper A)"
#: What it says of its errors in classrooms.
CLAIMS = (
    Claim("Backlit faces are taken for sad or fear", _A, "backlight", (), ("sad", "fear")),
    Claim("Faces turned to the side are taken for neutral", _A, "turn", (), ("neutral",)),
    Claim("Fear in low light is taken for surprise", _A, "low_light", ("fear",), ("surprise",)),
)


def judge(
    answers: Mapping[str, Sequence[np.ndarray]],
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
    key: str,
    claims: Sequence[Claim] = CLAIMS,
) -> list[dict[str, Any]]:
    """Judge every claim.

    The interval is of the difference, 95 %, by paired bootstrap over groups of pixel-identical faces: a replicate takes
    the same groups as they are and in the scenario. Held: the interval lies above 0. Not held: it lies below 0 or ends
    there. Undecided: it holds 0, or there are no mistakes to go by.

    Args:
        answers: int N by severity of each scenario, and of `clean`; labels: int64 N, and groups: N, equal for equal
            pixels; class_names: what the answers index; key: seeds the bootstrap.

    Returns:
        A dict a claim: claim, paper, scenario, of, to, mistakes and share (in the scenario), clean_mistakes and
        clean_share, difference, low, high (None where it cannot be computed), rate and clean_rate (of all faces meant,
        how many are taken for it) and verdict.
    """
    return [_judge(claim, answers, labels, groups, list(class_names), key) for claim in claims]


def _judge(
    claim: Claim,
    answers: Mapping[str, Sequence[np.ndarray]],
    labels: np.ndarray,
    groups: np.ndarray,
    names: list[str],
    key: str,
) -> dict[str, Any]:
    said = {"claim": claim.sentence, "paper": claim.paper, "scenario": claim.scenario, "of": claim.of, "to": claim.to}
    numbers = dict.fromkeys(("rate", "clean_rate", *_KEYS))
    to = [names.index(name) for name in claim.to if name in names]
    of = [names.index(name) for name in claim.of if name in names]
    if claim.scenario not in answers or len(to) < len(claim.to) or len(of) < len(claim.of):
        return said | numbers | {"verdict": NOT_ASKED}
    meant = ~np.isin(labels, to) & (np.isin(labels, of) if of else True)
    number = np.unique(groups.astype(str), return_inverse=True)[1]
    counts = np.zeros((int(number.max(initial=-1)) + 1, 2, 2))  # groups × (clean, scenario) × (mistakes, gone there)
    for place, levels in enumerate((answers["clean"], answers[claim.scenario])):
        for predicted in levels:
            wrong = meant & (predicted != labels)
            np.add.at(counts[:, place, 0], number, wrong)
            np.add.at(counts[:, place, 1], number, wrong & np.isin(predicted, to))
    (clean_mistakes, clean_there), (mistakes, there) = counts.sum(axis=0)
    numbers |= {"mistakes": int(mistakes), "clean_mistakes": int(clean_mistakes)}
    if meant.any():  # for the reader: more mistakes of every kind raise it too, so no verdict hangs on it
        numbers["rate"] = float(there / meant.sum() / len(answers[claim.scenario]))
        numbers["clean_rate"] = float(clean_there / meant.sum())
    if not mistakes or not clean_mistakes:
        return said | numbers | {"verdict": UNDECIDED}
    share, clean_share = there / mistakes, clean_there / clean_mistakes
    low, high = _interval(counts[counts.any(axis=(1, 2))], f"{key}{claim.sentence}")
    return {
        **said,
        **numbers,
        "share": float(share),
        "clean_share": float(clean_share),
        "difference": float(share - clean_share),
        "low": low,
        "high": high,
        "verdict": HELD if low > 0 else NOT_HELD if high <= 0 else UNDECIDED,
    }


def _interval(counts: np.ndarray, key: str) -> tuple[float, float]:
    """Percentiles of resampled differences; counts: G×2×2. A replicate without mistakes on one side says nothing."""
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]))
    groups, differences = len(counts), []
    for start in range(0, REPLICATES, _CHUNK):
        size = min(_CHUNK, REPLICATES - start)
        weights = generator.multinomial(groups, np.full(groups, 1 / groups), size=size)
        sums = (weights.astype(np.float64) @ counts.reshape(groups, 4)).reshape(size, 2, 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = sums[:, :, 1] / sums[:, :, 0]
        differences.append(shares[:, 1] - shares[:, 0])
    low, high = np.nanquantile(np.concatenate(differences), [_TAIL, 1 - _TAIL])
    return round(float(low), 9), round(float(high), 9)
