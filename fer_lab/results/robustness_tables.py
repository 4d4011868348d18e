"""Robustness results as files: those of a run, with its claims and figures, and those of a table, row by row."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_lab.results.mistakes import mistake_rows
from fer_lab.results.plots import save_png
from fer_lab.results.suite_charts import drop_figure, severity_figure
from fer_lab.results.suite_tables import csv_text, pipe_table

Result = Mapping[str, Any]
_ABOUT = (
    "Accuracy at severities 1 to 5, their mean, what is lost against the faces as they are (drop), and the corruption "
    "error: errors summed over severities, divided by the baseline's. Nothing was chosen by these scores."
)


def write_robustness(folder: Path, found: Mapping[str, Result]) -> list[Path]:
    """Write everything of a run's folder; a figure where a scenario was asked about."""
    texts = {
        "results.csv": csv_text(level_rows(found)),
        "claims.csv": csv_text([row for file, result in found.items() for row in claim_rows(file, result)]),
        "table.md": "\n".join(markdown(found)) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    paths = [folder / name for name in texts]
    asked = {file: result for file, result in found.items() if result["scenarios"]}
    if asked:
        paths.append(save_png(severity_figure(asked), folder / "severities.png"))
    for file, result in asked.items():
        paths.append(save_png(drop_figure(result, f"Accuracy lost, points, {file}"), folder / f"drop_{file}.png"))
    return paths


def level_rows(found: Mapping[str, Result]) -> list[dict[str, Any]]:
    """A csv line for each file, scenario and severity, with recall by class; severity 0 is the faces as they are."""
    rows = []
    for file, result in found.items():
        clean = result["clean"]
        parts = [("clean", 0, clean)]
        for name, scenario in result["scenarios"].items():
            parts += [(name, number, level) for number, level in enumerate(scenario["severities"], 1)]
        for name, number, level in parts:
            scores = {key: level[key] for key in ("n", "accuracy", "macro_f1", "nll", "ece")}
            drops = {f"{key}_drop": clean[key] - level[key] for key in ("accuracy", "macro_f1")}
            recalls = {f"recall_{name}": value for name, value in level["recall"].items()}
            rows.append({"file": file, "scenario": name, "severity": number, **scores, **drops, **recalls})
    return rows


def scenario_rows(result: Result) -> list[dict[str, Any]]:
    """A table line a scenario: accuracy by severity, mean, drop, and errors relative to the baseline's."""
    mce = result["mce"] or {"ce": {}, "relative_ce": {}}
    return [
        {
            "scenario": name.replace("_", " "),
            **{str(number): level["accuracy"] for number, level in enumerate(scenario["severities"], 1)},
            "mean": scenario["accuracy"],
            "drop": scenario["drop"]["accuracy"],
            "macro_f1": scenario["macro_f1"],
            "ece": scenario["ece"],
            "CE": mce["ce"].get(name),
            "relative CE": mce["relative_ce"].get(name),
        }
        for name, scenario in result["scenarios"].items()
    ]


def worst_class_rows(result: Result) -> list[dict[str, Any]]:
    """A table line a scenario: the recall each class loses, mean over severities."""
    return [
        {"scenario": name.replace("_", " "), **scenario["recall_drop"]}
        for name, scenario in result["scenarios"].items()
    ]


def claim_rows(file: str, result: Result) -> list[dict[str, Any]]:
    """A table line a claim."""
    keys = ("mistakes", "share", "clean_mistakes", "clean_share", "difference", "low", "high", "rate", "clean_rate")
    named = ("claim", "paper", "scenario")
    return [
        {"file": file, **{key: claim[key] for key in named}, **{key: claim[key] for key in (*keys, "verdict")}}
        for claim in result["claims"]
    ]


def mce_sentence(result: Result) -> str:
    """What the errors come to, normalised or not."""
    if result["mean_error"] is None:
        return "No scenario has been asked about."
    error = f"Mean error over {len(result['scenarios'])} scenarios {result['mean_error']:.3f}"
    mce = result["mce"]
    if mce is None:
        return f"{error}, normalised by no baseline (suite.baseline=<run>), so this is no mCE."
    if mce["mce"] is None:
        return f"{error}; mCE is not defined, as {mce['baseline']} makes no error in a scenario."
    relative = "not defined" if mce["relative_mce"] is None else f"{100 * mce['relative_mce']:.1f} %"
    return f"{error}; mCE {100 * mce['mce']:.1f} %, relative mCE {relative}, against {mce['baseline']} (100 %)."


def markdown(found: Mapping[str, Result]) -> list[str]:
    """table.md: scenarios of each file, the recall each class loses, and the claims."""
    text = ["# Robustness", "", _ABOUT]
    for file, result in found.items():
        clean = result["clean"]
        text += ["", f"## {file}", ""]
        text += [
            f"As they are: accuracy {clean['accuracy']:.4f}, macro-F1 {clean['macro_f1']:.4f}, {clean['n']:,} faces."
        ]
        text += [*([result["note"]] if result["note"] else []), mce_sentence(result)]
        text += ["", *pipe_table(scenario_rows(result)), "", "Recall lost by class, mean over severities:", ""]
        text += pipe_table(worst_class_rows(result))
        if result["scenarios"]:
            text += ["", MISTAKES_ABOUT, "", *pipe_table(mistake_rows(result))]
    text += ["", "## What the papers claim", "", CLAIMS_ABOUT, ""]
    return text + pipe_table([row for file, result in found.items() for row in claim_rows(file, result)])


MISTAKES_ABOUT = (
    "Most frequent wrong answer to each emotion at severity 5, with the share of that emotion's faces; * where it is "
    "another than for the faces as they are:"
)

CLAIMS_ABOUT = (
    "Share: of the mistakes on faces the claim is about, how many go where it says, in the scenario and on the same "
    "faces as they are. Held: the 95 % interval of the difference (paired bootstrap over pixel-identical faces) lies "
    "above 0; not held: it ends at or below 0; undecided: it holds 0. Rate: of all faces the claim is about, how many "
    "are taken for it; it rises with mistakes of every kind, so no verdict hangs on it."
)


def write_across(
    folder: Path, rows: Sequence[tuple[str, Path, Mapping[str, Result]]], baseline: str | None
) -> list[Path]:
    """robustness.csv and robustness.md of a table: a line for each evaluated file of each row.

    Args:
        folder: of the table; rows: (row, its results' folder, results by file), in the table's order; baseline: the
            row whose errors normalise the others'.
    """
    lines = [
        {
            "row": row + (" (baseline)" if row == baseline else ""),
            "file": file,
            "accuracy": result["clean"]["accuracy"],
            "macro_f1": result["clean"]["macro_f1"],
            "mean_error": result["mean_error"],
            "mCE": (result["mce"] or {}).get("mce"),
            "relative_mCE": (result["mce"] or {}).get("relative_mce"),
            **{name: scenario["accuracy"] for name, scenario in result["scenarios"].items()},
            "held": sum(claim["verdict"] == "held" for claim in result["claims"]),
            "claims": len(result["claims"]),
            "results": str(run),
        }
        for row, run, found in rows
        for file, result in found.items()
    ]
    header = list(dict.fromkeys(key for line in lines for key in line))
    lines = [{key: line.get(key) for key in header} for line in lines]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "robustness.csv", folder / "robustness.md"]
    paths[0].write_text(csv_text(lines), encoding="utf-8", newline="\n")
    shown = [{key: value for key, value in line.items() if key != "results"} for line in lines]
    said = f"Scenarios: mean accuracy over five severities. mCE is relative to {baseline} (1 = as many errors)."
    text = ["# Robustness, row by row", "", said, "", *pipe_table(shown)]
    paths[1].write_text("\n".join(text) + "\n", encoding="utf-8", newline="\n")
    return paths
