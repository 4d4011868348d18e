"""Pictures for the audit's page: groups of copies, blank images and likely mislabelled faces, only on request."""

from collections.abc import Iterable

import pandas as pd

from fer_lab.data.audit import blank, conflicting, repeated
from fer_lab.data.source import Source
from fer_lab.errors import FerLabError
from fer_lab.results.examples import data_uri
from fer_lab.results.faces_audit import Gallery

#: Groups and single faces shown a gallery, and members of a group.
MOST_GROUPS, MOST_FACES, MOST_MEMBERS = 30, 60, 8


def galleries(source: Source, facts: pd.DataFrame, ranking: pd.DataFrame | None) -> list[Gallery]:
    """Choose faces and decode them: the source is read once more, and only what is shown stays in memory.

    Args:
        source: of the faces; facts: of :func:`fer_lab.data.audit.read_facts`.
        ranking: of :func:`fer_lab.data.label_noise.rank_labels`, likeliest first; None without one.
    """
    near = conflicting(facts, "near")
    not_identical = near[near.groupby("near")["exact"].transform("nunique") > 1]
    over = repeated(facts, "near")
    several = over.groupby("near")["split"].transform("nunique") > 1
    over = over[several & (over.groupby("near")["exact"].transform("nunique") > 1)].sort_values("near", kind="stable")
    empty = facts[blank(facts)]
    parts: list[tuple[str, str, list[pd.DataFrame]]] = [
        ("Identical, labelled differently", "A group a frame.", _groups(conflicting(facts, "exact"), "exact")),
        ("Near-duplicates, labelled differently", "Not pixel-identical.", _groups(not_identical, "near")),
        ("Near-duplicates on several sides of the split", "Not pixel-identical.", _groups(over, "near")),
        ("Constant and nearly constant", "", [empty.iloc[[i]] for i in range(min(len(empty), MOST_FACES))]),
    ]  # fmt: skip
    captions = dict(
        zip(facts["sample_id"], facts["emotion"] + "\n" + facts["split"] + "\n" + facts["sample_id"], strict=True)
    )
    if ranking is not None:
        first = ranking.head(MOST_FACES)
        parts.append(
            ("Likely mislabelled", "Label → suggestion, likeliest first.", [first.iloc[[i]] for i in range(len(first))])
        )
        captions |= {row.sample_id: f"{row.label} → {row.suggested}\n{row.sample_id}" for row in first.itertuples()}
    wanted = {name for _, _, groups in parts for group in groups for name in group["sample_id"]}
    pictures = _pictures(source, wanted)
    return [
        (title, note, [[(captions[name], pictures[name]) for name in group["sample_id"]] for group in groups])
        for title, note, groups in parts
        if groups
    ]


def _groups(faces: pd.DataFrame, key: str) -> list[pd.DataFrame]:
    return [group.head(MOST_MEMBERS) for _, group in faces.groupby(key, sort=False)][:MOST_GROUPS]


def _pictures(source: Source, wanted: Iterable[str]) -> dict[str, str]:
    left, found = set(wanted), {}
    for face in source.read():
        if not left:
            break
        if not isinstance(face, FerLabError) and face.sample_id in left:
            found[face.sample_id] = data_uri(face.image)
            left.remove(face.sample_id)
    return found
