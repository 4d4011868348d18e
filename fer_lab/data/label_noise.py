"""Which labels are likely wrong, ranked by cleanlab from out-of-fold probabilities, and whether raters agree.

Northcutt, Jiang and Chuang 2021, *Confident Learning: Estimating Uncertainty in Dataset Labels*.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from fer_lab.data.source import Source
from fer_lab.data.splits import merged_groups
from fer_lab.labels import LABEL_MAPS

#: How many of the likeliest are held against the raters' votes.
TOPS = (100, 500, 1000)
#: Columns of an audit's facts by which faces belong together.
TOGETHER = ("exact", "near", "subject")
_FERPLUS = "ferplus_"


def kept_together(facts: pd.DataFrame, ids: np.ndarray) -> np.ndarray:
    """Which faces no fold may divide: copies, near-duplicates and one subject's, directly or over others in between.

    A model that learned from another picture of the same person, or from a copy, has seen the face it is to judge.

    Args:
        facts: of :func:`fer_lab.data.audit.read_facts`; ids: str N, some of its sample_id.

    Returns:
        int64 N, equal for faces that belong together.
    """
    own = facts.set_index("sample_id").loc[ids]
    return merged_groups([own[name] for name in TOGETHER if name in own])


def rank_labels(
    ids: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Rank faces by how likely their label is wrong.

    Args:
        ids: str N; labels: int64 N, indices into class_names; probabilities: N×K, of a model that did not see the face.

    Returns:
        sample_id, label, suggested (the likeliest class), quality (0 wrong to 1 right: the label's own probability),
        rank (1 the likeliest to be wrong) and flagged (cleanlab's find_label_issues), in the order of rank.
    """
    quality = get_label_quality_scores(labels, probabilities, method="self_confidence")
    flagged = find_label_issues(labels, probabilities, n_jobs=1)
    names = np.array(class_names, dtype=object)
    table = pd.DataFrame(
        {
            "sample_id": ids,
            "label": names[labels],
            "suggested": names[probabilities.argmax(1)],
            "quality": quality.round(6),
            "flagged": flagged,
        }
    ).sort_values("quality", kind="stable", ignore_index=True)
    table.insert(4, "rank", np.arange(1, len(table) + 1))
    return table


def confusions(ranking: pd.DataFrame, most: int = 8) -> list[tuple[str, str, int]]:
    """The most frequent (label, suggestion, faces) among the flagged."""
    pairs = (
        ranking[ranking["flagged"]].groupby(["label", "suggested"]).size().sort_values(ascending=False, kind="stable")
    )
    return [(label, suggested, int(faces)) for (label, suggested), faces in pairs.head(most).items()]


def disputed_by_raters(ranking: pd.DataFrame, votes: pd.DataFrame) -> dict[str, Any] | None:
    """How many of the likeliest the raters dispute, against how many of all.

    A label is disputed where another answer has more votes; answers are the classes and whatever else the raters could
    say ("not a face"). A tie is no dispute.

    Args:
        ranking: of :func:`rank_labels`; votes: indexed by sample_id, a column an answer.

    Returns:
        disputed and base (rows and share of all that have votes), top {n: {disputed, share}} and flagged {faces,
        disputed, share}; None without votes.
    """
    known = ranking[ranking["sample_id"].isin(votes.index)]
    if not len(known):
        return None
    own = votes.loc[known["sample_id"]]
    column = own.columns.get_indexer(known["label"])
    given = np.where(column >= 0, own.to_numpy()[np.arange(len(own)), column], 0)
    disputed = own.to_numpy().max(axis=1) > given
    top = {
        str(n): {"disputed": int(disputed[:n].sum()), "share": round(float(disputed[:n].mean()), 4)}
        for n in TOPS
        if n <= len(disputed)
    }
    flagged = disputed[known["flagged"].to_numpy(bool)]
    return {
        "disputed": int(disputed.sum()),
        "base": round(float(disputed.mean()), 4),
        "top": top,
        "flagged": {
            "faces": len(flagged),
            "disputed": int(flagged.sum()),
            "share": round(float(flagged.mean()), 4) if len(flagged) else 0.0,
        },
    }


def rater_votes(source: Source) -> pd.DataFrame | None:
    """FER+'s votes of a FER2013 parquet that brings them along, whatever labels are trained on.

    Returns:
        float, indexed by sample_id, a column for each emotion and for what else the raters could say; None without.
    """
    path = getattr(source, "path", None)
    if path is None or Path(path).suffix != ".parquet":
        return None
    names = [name for name in pq.ParquetFile(path).schema_arrow.names if name.startswith(_FERPLUS)]
    if not names:
        return None
    table = pq.read_table(path, columns=["usage", *names]).to_pandas()
    ids = [f"{usage}-{row:05d}" for row, usage in enumerate(table["usage"])]
    known = LABEL_MAPS["ferplus"]
    return (
        table[names]
        .set_axis(ids)
        .rename(columns=lambda name: known.get(name.removeprefix(_FERPLUS), name))
        .astype(float)
    )
