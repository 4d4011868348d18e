import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from fer_lab.results.published import Compared
from fer_lab.results.report import write_report


class Page(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    VOID = ("meta", "br", "wbr", "link", "img", "input")

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def ids(self):
        return [attrs["id"] for tag, attrs in self.tags if "id" in attrs and tag in ("section", "tr")]


@pytest.fixture
def page(tmp_path):
    return lambda results: Page(write_report(results, tmp_path / "report.html").read_text())


@pytest.fixture
def demo(run_factory, gather):
    for seed in range(2):
        run_factory("demo_a", seed, recall=0.6, exported=seed == 0)
        run_factory("demo_b", seed, recall=0.8, exported=seed == 0)
    run_factory("demo_c", 0, status="failed", error="Loss <became> NaN & stopped.", metrics={})
    return gather(["demo_a", "demo_b", "demo_c"], [0, 1])


def test_nothing_is_fetched(demo, tmp_path, page):
    shown = page(demo)
    html = (tmp_path / "report.html").read_text()
    for _, attrs in shown.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attrs.get(name) is None or attrs[name].startswith(("#", "data:")), attrs
    assert not re.search(r"@import|url\((?!#)|@font-face|<script|<link", html)
    assert not shown.open  # every tag is closed


@pytest.mark.usefixtures("undrawn")
def test_a_stale_run_says_why(run_factory, gather, page, tmp_path):
    run_factory("demo_a", 0)
    run_factory("demo_b", 0, parent="demo_a", parent_key="0ld")
    page(gather(["demo_a", "demo_b"], [0]))
    runs = (tmp_path / "report.html").read_text().partition("The runs behind the numbers")[2]
    assert "demo_a has run again since: 0ld -" in runs


@pytest.mark.usefixtures("undrawn")
def test_every_section_and_run_is_there(demo, page):
    shown = page(demo)
    sections = [
        "table",
        "baseline",
        "emotions",
        "confusion",
        "calibration",
        "learning",
        "speed",
        "data",
        "runs",
        "limits",
    ]
    assert [name for name in shown.ids() if "/" not in name] == sections
    assert [name for name in shown.ids() if "/" in name] == [f"{run.folder}" for row in demo.rows for run in row.runs]
    assert len([tag for tag, _ in shown.tags if tag == "svg"]) == 1 + 3 * 2 + 1  # F1, three a completed row, latency
    text = " ".join("".join(shown.text).split())
    assert "Loss <became> NaN & stopped." in text
    assert "taken for" in text
    assert "5(1)(f)" in text
    assert "generated, public domain" in text


@pytest.mark.usefixtures("undrawn")
def test_cells_link_to_their_runs(demo, page):
    links = [attrs for tag, attrs in page(demo).tags if tag == "a" and "title" in attrs]
    key = demo.rows[1].completed[0].key
    assert f"demo_b/seed0 (key {key})" in " ".join(link["title"] for link in links)
    assert {link["href"] for link in links} == {"#demo_a/seed0", "#demo_b/seed0", "#demo_c/seed0"}


@pytest.mark.usefixtures("undrawn")
def test_gains_are_explained_and_shown(run_factory, gather, page):
    for seed in range(5):
        run_factory("demo_a", seed, recall=0.5, predictions=True)
        run_factory("demo_b", seed, recall=0.9, predictions=True, code="older")
    results = replace(
        gather(["demo_a", "demo_b"], list(range(5))),
        published={"demo_b": Compared({"test_accuracy": 0.9}, "Table 1, row 2", pretraining="imagenet")},
        code="c0de" * 4,
    )
    shown = page(results)
    assert [name for name in shown.ids() if "/" not in name][:3] == ["table", "baseline", "published"]
    text = " ".join("".join(shown.text).split())
    for part in (
        "More than chance?",
        "higher",
        "p < 0.05 in 5 of 5",
        "not a reproduction",
        "older code",
        "Table 1, row 2",
    ):
        assert part in text, part
    assert "pretraining none instead of imagenet" in text


@pytest.mark.usefixtures("undrawn")
def test_a_derived_row_has_no_epochs_and_its_smoothing_is_shown(run_factory, gather, page, tmp_path):
    parent = run_factory("demo_a", 0)
    record = run_factory("demo_b", 0, parent="demo_a", parent_key=parent["key"], epochs=0, timings_s={"derive": 1.0})
    (tmp_path / "demo_b" / "seed0" / "history.csv").unlink()
    scores = {"accuracy": 0.7, "macro_f1": 0.6, "nll": 0.9, "flips_per_minute": 4.0, "lag_s": None}
    scores |= {f"{name}_unsmoothed": 31.0 for name in scores}
    record["metrics"]["sequence"] = {"test": {"surrogate": True, "seconds": 600.0, "fps": 10.0, **scores}}
    record["smoothing"] = {"method": "ema", "alpha": 0.3, "chosen_on": "validation"}
    (tmp_path / "demo_b" / "seed0" / "record.json").write_text(json.dumps(record))
    shown = page(gather(["demo_a", "demo_b"], [0]))
    text = " ".join("".join(shown.text).split())
    for part in ("Over time", "ema, α 0.3, 600 s, 10 frames/s", "31.0 → 4.0", "on demo_a", "surrogate"):
        assert part in text, part


@pytest.mark.usefixtures("undrawn")
def test_scores_of_probabilities_stand_under_the_reliability_diagram(run_factory, gather, page, tmp_path):
    record = run_factory("demo_a", 0)
    record["metrics"]["test"] |= {"brier": 0.4321, "mce": 0.25, "votes": {"n": 9, "kl": 0.125, "ece": None}}
    (tmp_path / "demo_a" / "seed0" / "record.json").write_text(json.dumps(record))
    text = " ".join("".join(page(gather(["demo_a"], [0])).text).split())
    said = "largest gap of a bin (MCE) 0.250, Brier 0.432, against the raters’ votes: KL divergence 0.125."
    assert f"After calibration: {said}" in text


@pytest.mark.usefixtures("undrawn")
def test_cards_of_many_rows_are_folded(run_factory, gather, page):
    rows = [f"demo_{letter}" for letter in "abcdefgh"]
    for row in rows:
        run_factory(row, 0, recall=0.9 if row == "demo_g" else 0.6)
    shown = page(gather(rows, [0]))
    assert [tag for tag, _ in shown.tags].count("summary") == 3  # confusions, calibration, learning
    assert "The other 5 rows" in "".join(shown.text)


def test_same_records_same_bytes(demo, tmp_path):
    first = write_report(demo, tmp_path / "1.html").read_bytes()
    assert write_report(demo, tmp_path / "2.html").read_bytes() == first


@pytest.mark.usefixtures("undrawn")
def test_nothing_exported_and_nothing_run_is_said(run_factory, gather, page):
    run_factory("demo_a", 0)
    text = "".join(page(gather(["demo_a"], [0])).text)
    assert "Nothing has been exported yet" in text
    assert "Not benchmarked yet" in text
    empty = page(gather(["demo_x"], [0]))
    assert [name for name in empty.ids() if "/" not in name] == ["table", "runs", "limits"]
    assert "There is no result yet: demo_x (not run)." in "".join(empty.text)
