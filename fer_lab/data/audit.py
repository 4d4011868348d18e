"""What is wrong with a source of faces: copies, conflicting labels, blank images, leaking subjects, odd pictures.

Every face is decoded once and forgotten: a row of facts (two hashes, brightness, contrast) stays in memory, some 100
bytes a face.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.progress import track

from fer_lab.data.cache import pixel_group
from fer_lab.data.class_order import suspect_order
from fer_lab.data.near_duplicates import LEAST_CONTRAST, NEAR, clusters, perceptual_hash
from fer_lab.data.source import SPLITS, Face, Skipped, Source
from fer_lab.errors import FerLabError
from fer_lab.labels import index_of

#: Mean pixels below and above which a face is very dark or very bright; standard deviation below which it is flat.
DARK, BRIGHT, FLAT = 50, 205, 20
#: Subjects, and unreadable files, named in the findings.
_MOST_NAMED = 20
_CHUNK = 5000


def read_facts(source: Source) -> tuple[pd.DataFrame, Skipped]:
    """Decode every face of a source once.

    Returns:
        A row a face: sample_id, split (the source's own, may be empty), emotion, label (index of it), group and hash
        (uint64: equal for equal pixels; perceptual), brightness and contrast (mean and standard deviation of its
        pixels), constant, the source's columns, exact and near (int64; equal numbers are pixel-identical, or
        near-duplicates). And the unreadable ones, every one named.
    """
    unreadable = Skipped(most=math.inf)

    def readable() -> Iterator[Face]:
        for face in track(source.read(), f"Auditing {source.name}", total=source.expected(), transient=True):
            if isinstance(face, FerLabError):
                unreadable.add(face)
            else:
                yield face

    rows = (_fact(face, source.class_names) for face in readable())
    try:
        parts = [_columns(some) for some in iter(lambda: list(islice(rows, _CHUNK)), [])]
        if not parts:
            raise FerLabError(f"{source.name}: there is no readable face; {' '.join(unreadable.sentences[:1])}")
        facts = pa.concat_tables(parts, promote_options="permissive").to_pandas()
    except pa.ArrowException as error:
        raise FerLabError(f"{source.name}: a column has text in some faces and numbers in others ({error}).") from error
    facts["exact"] = pd.factorize(facts["group"])[0]
    facts["near"] = clusters(facts["hash"].to_numpy(np.uint64))
    return facts, unreadable


def _fact(face: Face, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        **face.columns,
        "sample_id": face.sample_id,
        "split": face.split,
        "emotion": face.emotion,
        "label": index_of(face.emotion, class_names),
        "group": np.uint64(pixel_group(face.image.tobytes())),
        "hash": np.uint64(perceptual_hash(face.image)),
        "brightness": np.float32(face.image.mean()),
        "contrast": np.float32(face.image.std()),
        "constant": bool(face.image.max() == face.image.min()),
    }


def _columns(rows: list[dict[str, Any]]) -> pa.Table:
    """Arrow's columns take a tenth of the memory of these dictionaries."""
    return pa.table(
        {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}
    )


def as_used(source: Source, facts: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The facts of the faces a run would use, split as it would split them, and what was done (`Selection.arrange`).

    Raises:
        FerLabError: the source's options ask for a split that cannot be made.
    """
    used, done = source.arrange(facts, source.class_names, lambda: facts["near"].to_numpy())
    return used.assign(split=used["split"].astype(str)), done


def findings(source: Source, facts: pd.DataFrame, unreadable: Skipped, split: dict[str, Any]) -> dict[str, Any]:
    """Count what :func:`read_facts` found among the faces :func:`as_used` leaves.

    Returns:
        source, licence, size, channels, split, faces, counts {split: {class: n}}, unreadable {count, sentences of the
        first}; of pixel-identical faces duplicate_groups, duplicate_rows, conflicting_groups (with different labels),
        copies_in_train {split: rows}, across {splits: groups} and largest (members); near: the same of near-duplicates,
        identical ones included; conflicts: the members of conflicting groups; constant and nearly_constant: ids;
        subjects, class_order, resolution and brightness.
    """
    reasons = dict(unreadable.reasons)
    named = unreadable.first.get("unreadable", [])[:_MOST_NAMED]
    unread = {"count": reasons.pop("unreadable", 0), "sentences": named}
    table = pd.crosstab(facts["split"], facts["emotion"])
    table = table.reindex(index=list(SPLITS), columns=list(source.class_names), fill_value=0)
    counts = {split: {name: int(n) for name, n in table.loc[split].items()} for split in SPLITS}
    return {
        "source": source.name,
        "licence": source.licence,
        "size": source.size,
        "channels": source.channels,
        "split": split,
        "faces": len(facts),
        "counts": counts,
        "unreadable": unread,
        **({"left_out": reasons} if reasons else {}),  # by request: by reason
        **({"notes": notes} if (notes := source.notes()) else {}),
        **_copies(facts, "exact"),
        "near": {"max_distance": NEAR, **_copies(facts, "near"), "not_identical_groups": _not_identical(facts)},
        "conflicts": _conflicts(facts),
        "constant": facts.loc[facts["constant"], "sample_id"].tolist(),
        "nearly_constant": facts.loc[blank(facts) & ~facts["constant"], "sample_id"].tolist(),
        "subjects": _subjects(facts),
        "class_order": suspect_order(counts),
        "resolution": _resolution(facts),
        "brightness": _brightness(facts, source.class_names),
    }


def blank(facts: pd.DataFrame) -> pd.Series:
    """Whether a face is constant or nearly so; bool N."""
    return facts["contrast"] < LEAST_CONTRAST


def repeated(facts: pd.DataFrame, key: str) -> pd.DataFrame:
    """The faces that have a copy; key: `exact` or `near`."""
    return facts[facts.duplicated(key, keep=False)]


def conflicting(facts: pd.DataFrame, key: str) -> pd.DataFrame:
    """The faces that have a copy with another label, a group after the other."""
    some = repeated(facts, key)
    return some[some.groupby(key)["emotion"].transform("nunique") > 1].sort_values(key, kind="stable")


def _copies(facts: pd.DataFrame, key: str) -> dict[str, Any]:
    some = repeated(facts, key)
    members = pd.crosstab(some[key], some["split"]).reindex(columns=list(SPLITS), fill_value=0)
    in_train = members[members["train"] > 0]
    places = [
        " + ".join(split for split, there in zip(members.columns, row, strict=True) if there)
        for row in members.to_numpy()
    ]
    across = pd.Series(places, dtype=object).value_counts()
    return {
        "duplicate_groups": len(members),
        "duplicate_rows": len(some),
        "conflicting_groups": int((some.groupby(key)["emotion"].nunique() > 1).sum()),
        "copies_in_train": {split: int(in_train[split].sum()) for split in SPLITS[1:]},
        "across": {place: int(across[place]) for place in sorted(across.index)},
        "largest": int(members.sum(axis=1).max()) if len(members) else 0,
    }


def _not_identical(facts: pd.DataFrame) -> int:
    return int((facts.groupby("near")["exact"].nunique() > 1).sum())


def _conflicts(facts: pd.DataFrame) -> list[list[dict[str, str]]]:
    columns = ["sample_id", "split", "emotion"]
    return [group[columns].to_dict("records") for _, group in conflicting(facts, "exact").groupby("exact")]


def _subjects(facts: pd.DataFrame) -> dict[str, Any] | None:
    """Whose faces stand in more than one split; None where no face has a subject."""
    if "subject" not in facts or not (known := facts[facts["subject"].notna()]).size:
        return None
    members = pd.crosstab(known["subject"], known["split"]).reindex(columns=list(SPLITS), fill_value=0)
    over = members[(members[list(SPLITS)] > 0).sum(axis=1) > 1]
    in_train = members[members["train"] > 0]
    return {
        "count": len(members),
        "in_several_splits": len(over),
        "named": sorted(map(str, over.index))[:_MOST_NAMED],
        "faces_with_subject_in_train": {split: int(in_train[split].sum()) for split in SPLITS[1:]},
    }


def _resolution(facts: pd.DataFrame) -> dict[str, Any] | None:
    """Sizes of the originals in pixels; None where the source gives none."""
    if not {"width", "height"} <= set(facts) or not (known := facts[["width", "height"]].dropna()).size:
        return None
    sizes = known.astype(int).value_counts()
    most = [{"width": int(w), "height": int(h), "faces": int(n)} for (w, h), n in sizes.head(5).items()]
    shorter = known.min(axis=1)
    quantiles = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {
        "sizes": len(sizes),
        "most": most,
        "shorter_side": {name: round(float(shorter.quantile(q)), 1) for name, q in quantiles.items()},
    }


def _brightness(facts: pd.DataFrame, class_names: Iterable[str]) -> dict[str, dict[str, float]]:
    """Of each class and of all: mean and quantiles of the mean pixel (0-255), shares of dark, bright and flat faces."""

    def described(some: pd.DataFrame) -> dict[str, float]:
        mean = some["brightness"].astype(float)
        values = {
            "mean": mean.mean(), "p5": mean.quantile(0.05), "median": mean.median(), "p95": mean.quantile(0.95),
        }  # fmt: skip
        shares = {"dark": mean < DARK, "bright": mean > BRIGHT, "flat": some["contrast"] < FLAT}
        return {name: round(float(value), 1) for name, value in values.items()} | {
            name: round(float(which.mean()), 5) for name, which in shares.items()
        }

    parts = {name: facts[facts["emotion"] == name] for name in class_names} | {"all": facts}
    return {name: described(some) for name, some in parts.items() if len(some)}
