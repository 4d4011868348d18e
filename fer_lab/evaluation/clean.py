"""The clean test beside the official one: the same answers, without the test faces that stand in training too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_lab.evaluation.decision import Decision
from fer_lab.evaluation.predict import COPY, load_predictions, load_votes


def clean_test_scores(path: Path, class_names: Sequence[str], decision: Decision) -> dict[str, Any]:
    """Score the faces of a test split without a copy (equal pixels; with `data.copies=near` near-duplicates, too)
    in training, before anything was left out of it.

    Rows that train on less, or without copies (`data.dedup=train`), are so scored on the same clean faces.

    Args:
        path: the run's own test predictions; class_names: order of the logits; decision: as for the whole split.

    Returns:
        {"test_clean": what `Decision.score` gives}; {} where no test face has a copy, or every one, or none was looked
        for.
    """
    table = pd.read_parquet(path)
    if COPY not in table or not table[COPY].any():
        return {}
    clean = ~table[COPY].to_numpy(bool)
    if not clean.any():
        return {}
    (logits, labels), votes = load_predictions(path, class_names), load_votes(path, class_names)
    scores = decision.score(logits[clean], labels[clean], tuple(class_names), None if votes is None else votes[clean])
    return {"test_clean": scores}
