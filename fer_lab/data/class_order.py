"""Class-order suspicion: labels read in another release's order are given away by how often each occurs.

Indices mean different emotions in different releases, and a mix-up trains without any error. Published counts tell:
where a source has the numbers of a known data set, but at other classes, its labels were named in the wrong order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from fer_lab.labels import EMOTIONS

Counts = Mapping[str, int]

#: Published counts of the parts of known data sets, in the order of EMOTIONS: FER2013 as in its csv (Goodfellow et al.
#: 2013), RAF-DB's basic emotions (Li et al. 2017), AffectNet's labels without contempt (Mollahosseini et al. 2017).
KNOWN: dict[str, dict[str, dict[str, int]]] = {
    data: {part: dict(zip(EMOTIONS, numbers, strict=True)) for part, numbers in parts.items()}
    for data, parts in {
        "FER2013": {
            "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
            "PublicTest": (467, 56, 496, 895, 653, 415, 607),
            "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
        },
        "RAF-DB": {
            "train": (705, 717, 281, 4772, 1982, 1290, 2524),
            "test": (162, 160, 74, 1185, 478, 329, 680),
        },
        "AffectNet": {"train": (24882, 3803, 6378, 134415, 25459, 14090, 74874)},
    }.items()
}
#: Orders in which releases number the seven classes, to name a suspicion.
ORDERS: dict[str, tuple[str, ...]] = {
    "alphabetical, as folders are sorted": tuple(sorted(EMOTIONS)),
    "FER+": ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear"),
    "RAF-DB": ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"),
    "AffectNet": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"),
    "FER2013's csv": EMOTIONS,
}
_LEAST_FACES = 500
#: Shares fit a data set where they are off by less in total variation.
_FITS = 0.02
#: Twice the logarithm of how much likelier another order must be: 1 in 100 after trying all 5,040 orders.
_LIKELIER = 2 * float(np.log(5040 * 100))


def suspect_order(counts: Mapping[str, Counts]) -> dict[str, Any]:
    """Compare the class counts of a source with published ones.

    Args:
        counts: split -> class -> faces.

    Returns:
        data: the known data set it looks like, or None; evidence: "counts" (a part's numbers are the published ones),
        "shares" (all together are alike), or None; suspected: None, or class as read -> class it seems to be;
        sentence: the same in words.
    """
    total = {name: sum(part.get(name, 0) for part in counts.values()) for name in EMOTIONS}
    others = {name for part in counts.values() for name, faces in part.items() if faces} - set(EMOTIONS)
    if others or not all(total.values()):
        return _found(
            None, None, None, "Not all of FER2013's seven classes and only these: no published counts to compare."
        )
    for data, parts in KNOWN.items():
        known_total = {name: sum(part[name] for part in parts.values()) for name in EMOTIONS}
        for part in (*counts.values(), total):
            for known in (*parts.values(), known_total):
                if sorted(part.values()) == sorted(known.values()):
                    return _told(data, "counts", _same_numbers(part, known))
    for data, parts in KNOWN.items():
        known_total = {name: sum(part[name] for part in parts.values()) for name in EMOTIONS}
        if sum(total.values()) >= _LEAST_FACES and (renamed := _by_shares(total, known_total)):
            return _told(data, "shares", renamed)
    return _found(None, None, None, "The class counts are like those of no data set whose counts are known.")


def _same_numbers(part: Counts, known: Counts) -> dict[str, str]:
    by_number = {faces: name for name, faces in known.items()}
    return {name: by_number[part[name]] for name in EMOTIONS}


def _by_shares(counts: Counts, known: Counts) -> dict[str, str] | None:
    """The likeliest naming of the classes if it fits the known shares; as read unless another is far likelier."""
    faces = np.array([counts[name] for name in EMOTIONS], float)
    shares = np.array([known[name] for name in EMOTIONS], float) / sum(known.values())
    likelihood = faces[:, None] * np.log(shares)[None, :]
    rows, named = linear_sum_assignment(likelihood, maximize=True)
    gain = 2 * (likelihood[rows, named].sum() - np.trace(likelihood))
    if gain < _LIKELIER:
        named = rows
    fits = np.abs(faces / faces.sum() - shares[named]).sum() / 2 < _FITS
    return {EMOTIONS[row]: EMOTIONS[column] for row, column in zip(rows, named, strict=True)} if fits else None


def _told(data: str, evidence: str, renamed: dict[str, str]) -> dict[str, Any]:
    alike = {"counts": "The class counts are those", "shares": "The classes' shares are those"}[evidence]
    if all(name == seems for name, seems in renamed.items()):
        return _found(data, evidence, None, f"{alike} of {data}, class by class.")
    order = tuple(renamed[name] for name in EMOTIONS)
    name = next((f" ({name})" for name, known in ORDERS.items() if known == order), "")
    wrong = ", ".join(f"{name} → {seems}" for name, seems in renamed.items() if name != seems)
    sentence = (
        f"{alike} of {data}, but at other classes: what is read as angry, disgust, fear, happy, sad, surprise, neutral "
        f"seems to be {', '.join(order)}{name}. Check the label map ({wrong})."
    )
    return _found(data, evidence, renamed, sentence)


def _found(data: str | None, evidence: str | None, suspected: dict[str, str] | None, sentence: str) -> dict[str, Any]:
    return {"data": data, "evidence": evidence, "suspected": suspected, "sentence": sentence}
