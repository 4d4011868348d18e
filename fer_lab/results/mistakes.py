"""Where mistakes go in each scenario: the most frequent wrong answer to every emotion, and what it was without one."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

AS_THEY_ARE = "as they are"


class Mistake(NamedTuple):
    """The most frequent wrong answer to the faces of one emotion.

    Attributes:
        to: the answer; share: of that emotion's faces, 0-1; moved: it is another than for the faces as they are.
    """

    to: str
    share: float
    moved: bool


def likeliest_mistakes(result: Mapping[str, Any]) -> dict[str, list[Mistake | None]]:
    """Mistakes by scenario, the faces as they are first, at the highest severity, in the order of the classes.

    Args:
        result: of one file, as `fer_lab.evaluation.robustness` writes it. None where no face of the emotion is taken
            for another, or there is none; of equally frequent answers the first class.
    """
    names = result["class_names"]
    matrices = {AS_THEY_ARE: result["clean"]["confusion"]}
    matrices |= {name: scenario["severities"][-1]["confusion"] for name, scenario in result["scenarios"].items()}
    clean = _likeliest(matrices[AS_THEY_ARE])

    def mistake(one: tuple[int, float] | None, before: tuple[int, float] | None) -> Mistake | None:
        return Mistake(names[one[0]], one[1], before is not None and before[0] != one[0]) if one else None

    return {
        scenario.replace("_", " "): [mistake(*pair) for pair in zip(_likeliest(matrix), clean, strict=True)]
        for scenario, matrix in matrices.items()
    }


def mistake_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table line a scenario: `fear 31 %` of each emotion, with an asterisk where it moved."""
    return [
        {
            "scenario": scenario,
            **{
                name: f"{one.to} {100 * one.share:.0f} %{'*' if one.moved else ''}" if one else None
                for name, one in zip(result["class_names"], mistakes, strict=True)
            },
        }
        for scenario, mistakes in likeliest_mistakes(result).items()
    ]


def _likeliest(confusion: list[list[int]]) -> list[tuple[int, float] | None]:
    """(answer, share of the class) of each true class; rows of the K×K counts are true."""
    counts = np.array(confusion)
    faces, wrong = counts.sum(axis=1), counts - np.diag(np.diag(counts))
    return [
        (int(row.argmax()), float(row.max() / total)) if row.max() else None
        for row, total in zip(wrong, faces, strict=True)
    ]
