"""The temporal suite's results as files: temporal.csv, temporal.md with the answer to RQ2, and a figure a file."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_lab.results.plots import save_png
from fer_lab.results.suite_tables import csv_text, pipe_table
from fer_lab.results.temporal_charts import temporal_figure

Result = Mapping[str, Any]
#: Measures with their digits in tables, and whether their interval is shown there.
_SHOWN = {
    "flips_per_minute": ("flips a minute", 1, True),
    "mean_lag_ms": ("mean lag, ms", 0, True),
    "lag_ms": ("median lag, ms", 0, False),
    "never_reached": ("never reached", 3, False),
    "accuracy": ("accuracy", 3, True),
    "lsi_error": ("LSI error", 3, True),
    "lsi_mae": ("LSI distance", 3, False),
    "lsi_variance": ("LSI variance", 4, False),
    "lsi_variance_late": ("of late halves", 4, False),
}
_CHANGES = ("flips_per_minute", "mean_lag_ms", "accuracy", "lsi_error", "lsi_variance_late")
_FRONT = ("flips_per_minute", "mean_lag_ms", "lsi_error")
_WHAT = {
    "surrogate": "Sequences of held-out faces (a surrogate for video)",
    "drawn": "Videos of drawn people, through the live pipeline",
}
ABOUT = (
    "The whole grid, on the test split; * marks what was chosen on validation logits alone (α and window by the NLL of "
    "surrogate sequences, the voting window by their accuracy). Brackets: 95 % bootstrap intervals over segments. "
    "Flips: changes of the shown label from frame to frame, the script's own among them. Lag: from a change in the "
    "script until the new emotion is shown first; in the mean a segment in which it never is counts with its length, "
    "in the median as longer than any other. LSI error: root mean square of one face's index (-1 to 1) minus that of "
    "the scripted emotion; LSI distance: the mean of its size, which is smaller for whoever shows one label as if it "
    "were certain. LSI variance: within segments, of all their frames (the way to the new level among them) and of "
    "their second halves. Vote: the label of most frames of the window; none: every frame by itself. α is meant for "
    "the script's frame rate. On surrogate sequences successive faces are strangers, which flatters all smoothing."
)


def write_temporal(folder: Path, found: Mapping[str, Result]) -> list[Path]:
    """Write everything of a run's folder; the first file's figure is temporal.png."""
    texts = {"temporal.csv": csv_text(setting_rows(found)), "temporal.md": "\n".join(markdown(found)) + "\n"}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    paths = [folder / name for name in texts]
    for number, (file, result) in enumerate(found.items()):
        path = folder / ("temporal.png" if not number else f"temporal_{file}.png")
        paths.append(save_png(temporal_figure(result, file), path))
    return paths


def setting_name(setting: Result) -> str:
    """How tables call a setting."""
    method, value = setting["method"], setting["value"]
    return {"none": "none", "ema": f"EMA α={value}"}.get(method) or f"{method} {value:g} s"


def setting_rows(found: Mapping[str, Result], intervals: bool = True) -> list[dict[str, Any]]:
    """A csv line for each file, timeline, calibration and setting; lags that are infinite are empty."""
    rows = []
    for file, result in found.items():
        for timeline in result["timelines"]:
            for one in timeline["settings"]:
                row = {"file": file, "timeline": timeline["name"], "calibration": one["calibration"]}
                row |= {"smoothing": setting_name(one), "chosen": one["chosen"]}
                for name, (value, low, high) in one["measures"].items():
                    row |= {name: value} | ({f"{name}_low": low, f"{name}_high": high} if intervals else {})
                for name in _CHANGES if intervals else ():
                    value, low, high = one["against_none"][name]
                    row |= {f"{name}_gained": value, f"{name}_gained_low": low, f"{name}_gained_high": high}
                rows.append(row)
    return rows


def markdown(found: Mapping[str, Result]) -> list[str]:
    """temporal.md: of each file the answer, then a table for each timeline and calibration."""
    text = ["# Smoothing over time", "", ABOUT]
    for file, result in found.items():
        text += ["", f"## {file}", *([result["note"]] if result.get("note") else [])]
        text += ["", "RQ2: what does smoothing buy, and what does it cost?", ""]
        text += [f"- {sentence}" for sentence in answer(result)]
        for timeline in result["timelines"]:
            about = f"{timeline['sequences']} sequences, {timeline['minutes']:g} minutes at {timeline['fps']:g} frames "
            about += f"a second, {timeline['segments']} segments, {timeline['changes_per_minute']:.1f} changes a minute"
            if timeline["found"] is not None:
                about += f"; a face was found in {100 * timeline['found']:.1f} % of the frames"
            for calibration in dict.fromkeys(one["calibration"] for one in timeline["settings"]):
                own = " (its own)" if calibration == result["own"] else ""
                text += ["", f"### {_WHAT[timeline['name']]}, calibration: {calibration}{own}", "", f"{about}.", ""]
                text += pipe_table(table_rows(timeline, calibration))
    return text


def table_rows(timeline: Result, calibration: str) -> list[dict[str, Any]]:
    """Lines of a timeline's table under one calibration, as text."""
    return [
        {"smoothing": setting_name(one) + (" *" if one["chosen"] else "")}
        | {title: _cell(one["measures"][name], digits, wide) for name, (title, digits, wide) in _SHOWN.items()}
        for one in timeline["settings"]
        if one["calibration"] == calibration
    ]


def _cell(measured: Sequence[float | None], digits: int, wide: bool) -> str:
    value, low, high = (None if one is None else f"{one:.{digits}f}" for one in measured)
    if value is None:
        return "–"
    return f"{value} [{low}, {high}]" if wide and low is not None else value


def answer(result: Result) -> list[str]:
    """RQ2 in sentences, by rule: under the file's own calibration, each method's chosen value against no smoothing,
    the EMA against voting, and what calibration does. Whatever interval holds 0 is called not told apart."""
    return [sentence for timeline in result["timelines"] for sentence in _answer(timeline, result["own"])]


def _answer(timeline: Result, own: str) -> list[str]:
    settings = [one for one in timeline["settings"] if one["calibration"] == own]
    plain = {name: values[0] for name, values in settings[0]["measures"].items()}
    said = [
        f"{_WHAT[timeline['name']]}, calibration {own}: without smoothing {plain['flips_per_minute']:.1f} flips a "
        f"minute (the script has {timeline['changes_per_minute']:.1f}), mean lag {plain['mean_lag_ms']:.0f} ms, "
        f"accuracy {plain['accuracy']:.3f}, LSI error {plain['lsi_error']:.3f}."
    ]
    chosen = [one for one in settings if one["chosen"]]
    said += [f"{setting_name(one)}: {_verdict(one['against_none'])}, against no smoothing." for one in chosen]
    names = {one["method"]: setting_name(one) for one in chosen}
    for one in timeline["compared"]:
        if one["calibration"] == own:
            other = names["vote"] if one["against"] == "vote" else f"the same α with {one['against']}"
            said.append(f"{names['ema']} against {other}: {_verdict(one['measures'])}.")
    beaten = [
        f"{setting_name(one)} (by {setting_name(better)})"
        for one in settings
        if (better := next((other for other in settings if _beats(other, one)), None))
    ]
    said.append(f"Beaten in flips, lag and LSI error at once: {', '.join(beaten) or 'none of the settings'}.")
    return said


def _verdict(differences: Mapping[str, Sequence[float | None]]) -> str:
    """For example "cuts flips by 30.1 [28.0, 32.2] a minute, costs 120 [90, 150] ms of lag, ..."."""

    def told(name: str, less: str, more: str, equal: str, show: Callable[[float], str]) -> str:
        value, low, high = differences[name]
        if value is None or low is None or high is None or low <= 0 <= high:
            return equal
        ends = sorted((abs(low), abs(high)))
        word = less if value < 0 else more
        return word.format(f"{show(abs(value))} [{show(ends[0])}, {show(ends[1])}]")

    return ", ".join(
        [
            told("flips_per_minute", "cuts flips by {} a minute", "adds {} flips a minute", "flips not told apart",
                 lambda x: f"{x:.1f}"),
            told("mean_lag_ms", "saves {} ms of lag", "costs {} ms of lag", "lag not told apart", lambda x: f"{x:.0f}"),
            told("lsi_error", "lowers the LSI error by {}", "raises the LSI error by {}", "LSI error not told apart",
                 lambda x: f"{x:.3f}"),
            told("accuracy", "loses {} of accuracy", "gains {} of accuracy", "accuracy not told apart",
                 lambda x: f"{x:.3f}"),
        ]
    )  # fmt: skip


def _beats(one: Result, other: Result) -> bool:
    """Whether a setting is at least as good in flips, lag and LSI error, and better in one."""
    pairs = [(one["measures"][name][0], other["measures"][name][0]) for name in _FRONT]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
