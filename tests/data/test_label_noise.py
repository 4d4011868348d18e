"""Planted wrong labels come first in the ranking, and raters are counted as they voted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fer_lab.data.label_noise import confusions, disputed_by_raters, kept_together, rank_labels, rater_votes
from fer_lab.errors import FerLabError
from fer_lab.training.out_of_fold import out_of_fold

NAMES = ("angry", "happy", "sad")


def _planted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """300 points around three corners, ten labels of which are wrong: features, labels, places of the wrong ones."""
    true = np.repeat(np.arange(3), 100)
    features = 4 * np.eye(3)[true] + rng.normal(0, 0.5, (300, 3))
    wrong = rng.choice(300, 10, replace=False)
    labels = true.copy()
    labels[wrong] = (true[wrong] + 1) % 3
    return features, labels, wrong


def test_planted_wrong_labels_are_ranked_first_and_flagged() -> None:
    features, labels, wrong = _planted(np.random.default_rng(0))
    probabilities = out_of_fold(features, labels, np.arange(300))
    ids = np.array([f"face-{i}" for i in range(300)], dtype=object)
    ranking = rank_labels(ids, labels, probabilities, NAMES)
    assert set(ranking["sample_id"].head(10)) == {f"face-{i}" for i in wrong}
    assert ranking["rank"].tolist() == list(range(1, 301))
    flagged = set(ranking.loc[ranking["flagged"], "sample_id"])
    assert flagged <= {f"face-{i}" for i in wrong}
    assert len(flagged) >= 8
    assert sum(n for _, _, n in confusions(ranking)) == len(flagged)
    assert all(NAMES[(NAMES.index(suggested) + 1) % 3] == label for label, suggested, _ in confusions(ranking))


def test_near_duplicates_are_never_in_the_fold_that_judges_them() -> None:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(0, 1, (60, 40)), 2, axis=0)  # noise, every face twice: only a copy could tell
    labels = np.repeat(np.arange(60) % 3, 2)
    told = out_of_fold(features, labels, np.arange(120)).argmax(1) == labels
    kept_apart = out_of_fold(features, labels, np.repeat(np.arange(60), 2)).argmax(1) == labels
    assert told.mean() > 0.6
    assert kept_apart.mean() < 0.5


def test_copies_and_one_subject_s_faces_belong_together() -> None:
    """a and b are near, b and c one person's, d a copy of e; f is nobody's, and neither is g."""
    facts = pd.DataFrame(
        {
            "sample_id": list("abcdefg"),
            "exact": [0, 1, 2, 3, 3, 4, 5],
            "near": [0, 0, 1, 2, 2, 3, 4],
            "subject": ["x", "y", "y", "z", None, None, None],
        }
    )
    assert kept_together(facts, np.array(list("gfedcba"))).tolist() == [0, 1, 2, 2, 3, 3, 3]
    assert kept_together(facts.drop(columns="subject"), np.array(list("abc"))).tolist() == [0, 0, 1]


def test_a_class_of_one_face_is_refused() -> None:
    with pytest.raises(FerLabError, match="too few training faces"), pytest.warns(UserWarning, match="least populated"):
        out_of_fold(np.random.default_rng(0).normal(size=(41, 5)), np.array([0, 1] * 20 + [2]), np.arange(41))


def test_raters_dispute_a_label_that_has_not_the_most_votes() -> None:
    ranking = pd.DataFrame({"sample_id": list("abcd"), "label": ["happy", "sad", "angry", "angry"]})
    ranking["flagged"] = [True, True, False, False]
    votes = pd.DataFrame(
        {"angry": [0.0, 0, 4, 6], "happy": [3.0, 5, 2, 0], "sad": [0.0, 5, 4, 0], "NF": [7.0, 0, 0, 4]},
        index=["a", "b", "c", "d"],
    )
    found = disputed_by_raters(pd.concat([ranking] * 50), votes)
    assert found is not None
    assert (found["disputed"], found["base"]) == (50, 0.25)  # only a: a tie is no dispute
    assert found["top"] == {"100": {"disputed": 25, "share": 0.25}}
    assert found["flagged"] == {"faces": 100, "disputed": 50, "share": 0.5}
    assert disputed_by_raters(ranking, votes.set_axis(list("wxyz"))) is None


def test_votes_of_a_parquet_that_brings_them(tmp_path: Path) -> None:
    class Source:
        path = tmp_path / "faces.parquet"

    columns = {
        "usage": ["Training", "PublicTest"],
        "ferplus_anger": [8, 0],
        "ferplus_happiness": [0, 9],
        "ferplus_NF": [2, 1],
    }
    pq.write_table(pa.table(columns), Source.path)
    votes = rater_votes(Source())  # type: ignore[arg-type]
    assert votes is not None
    assert votes.loc["Training-00000"].to_dict() == {"angry": 8, "happy": 0, "ferplus_NF": 2}
    assert votes.loc["PublicTest-00001", "happy"] == 9
    pq.write_table(pa.table({"usage": ["Training"]}), Source.path)
    assert rater_votes(Source()) is None  # type: ignore[arg-type]
