"""Audits of papers: made-up papers that fit or are wrong in one place, the two real ones, and what is committed."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_lab.audit import audit
from fer_lab.errors import FerLabError
from fer_lab.results import rules_confusion, rules_networks, rules_samples, rules_tables
from fer_lab.results.findings import AGREES, CONTRADICTS, UNCHECKED, Finding
from fer_lab.results.intervals import Interval
from fer_lab.results.published import Published, load_published
from fer_lab.schema import compose

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
_WITHOUT_NETWORKS = (*rules_tables.RULES, *rules_samples.RULES, *rules_confusion.RULES)

# Rows are true classes: angry 8 1 1, happy 2 16 2, sad 1 3 16. So precisions 8/11, 16/20, 16/19 and recalls .8, .8, .8.
CONSISTENT: dict[str, Any] = {
    "title": "A made-up paper",
    "authors": "Nobody",
    "year": "2026",
    "classes": {"announced": "3", "where": "abstract"},
    "split": {"where": "text", "train": "70", "validation": "20", "test": "10"},
    "samples": [
        {"where": "abstract", "split": "test", "count": "50"},
        {"where": "abstract", "split": "all", "count": "500"},
    ],
    "networks": {"the model": {"backbone": "mobilenetv2_050", "head": "linear", "classes": "7"}},
    "tables": {
        "Table 1": {
            "holds": "classes",
            "columns": ["precision", "recall", "f1", "support"],
            "network": "the model",
            "rows": {
                "angry": ["0.73", "0.80", "0.76", "10"],
                "happy": ["0.80", "0.80", "0.80", "20"],
                "sad": ["0.84", "0.80", "0.82", "20"],
            },
            "summary": {
                "accuracy": {"accuracy": "0.80", "support": "50"},
                "macro": {"precision": "0.79", "recall": "0.80", "f1": "0.79"},
                "weighted": {"precision": "0.80", "recall": "0.80", "f1": "0.80"},
            },
        },
        "Table 2": {
            "holds": "steps",
            "columns": ["accuracy", "macro_f1", "loss"],
            "network": "the model",
            "rows": {"baseline": ["0.61", "0.57", "1.02"], "+ everything": ["0.80", "0.79", "0.66"]},
        },
        "Table 3": {
            "holds": "files",
            "columns": ["size_mb", "latency_ms", "fps", "accuracy"],
            "network": "the model",
            "rows": {"FP32": ["2.8", "40.0", "25.0", "0.80"], "INT8": ["0.8", "16.0", "62.5", "0.78"]},
        },
    },
    "confusions": [
        {
            "where": "text",
            "table": "Table 1",
            "diagonal": {"angry": "8", "happy": "16", "sad": "16"},
            "errors": [{"true": "sad", "predicted": "happy", "count": "3", "share": "15.0"}],
        }
    ],
    "percentages": [{"where": "text", "called": "recall", "percent": "80.0"}],
    "ratios": [
        {"where": "text", "table": "Table 3", "quantity": "latency_ms", "row": "FP32", "over": "INT8", "value": "2.5"}
    ],
}


def published(tmp_path: Path, content: dict[str, Any]) -> Published:
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return load_published(tmp_path)


def contradictions(paper: Published, rules: Any = _WITHOUT_NETWORKS) -> list[Finding]:
    return [one for rule in rules for one in rule(paper) if one.verdict == CONTRADICTS]


def changed(keys: str, value: Any) -> dict[str, Any]:
    """The consistent paper with one entry replaced; keys are joined by `/`, digits index lists."""
    content = copy.deepcopy(CONSISTENT)
    *path, last = keys.split("/")
    node: Any = content
    for key in path:
        node = node[int(key) if isinstance(node, list) else key]
    node[int(last) if isinstance(node, list) else last] = value
    return content


def test_a_consistent_paper_has_no_contradiction_and_every_rule_has_something_to_say(tmp_path: Path) -> None:
    paper = published(tmp_path, CONSISTENT)
    rules = (*_WITHOUT_NETWORKS, *rules_networks.RULES)
    found = [one for rule in rules for one in rule(paper)]
    assert [one for one in found if one.verdict != AGREES] == []
    silent = {rule.__name__ for rule in rules} - {one.rule for one in found}
    # Those need a data set with official splits, permuted names, and models that are compared.
    compared = {"average_recall_from_diagonal", "parameter_count"}
    assert silent == {"official_split", "official_class_counts", "class_order", *compared}


@pytest.mark.parametrize(
    ("keys", "value", "rules"),
    [
        ("tables/Table 1/rows/happy/2", "0.82", {"f1_from_precision_and_recall"}),
        ("tables/Table 1/summary/macro/f1", "0.81", {"f1_from_precision_and_recall", "macro_average"}),
        ("tables/Table 1/summary/macro/precision", "0.81", {"macro_average"}),
        ("tables/Table 1/summary/weighted/precision", "0.79", {"weighted_average"}),
        ("tables/Table 1/summary/accuracy/support", "60", {"support_total"}),
        ("tables/Table 1/summary/accuracy/accuracy", "0.82", {"accuracy_from_recalls", "accuracy_from_diagonal"}),
        ("tables/Table 1/rows/sad", ["0.64", "0.80", "0.71", "20"], {"predicted_total", "macro_average"}),
        ("tables/Table 2/rows/baseline", ["0.73", "0.80", "0.76"], {"rows_under_other_headings"}),
        ("tables/Table 2/rows/+ everything/0", "0.83", {"repeated_result"}),
        ("tables/Table 3/rows/FP32/3", "0.77", {"repeated_result"}),
        ("samples/0/count", "51", {"sample_counts"}),
        ("samples/1/count", "900", {"split_sizes"}),
        ("split/train", "80", {"split_sizes"}),
        ("classes/announced", "7", {"announced_classes"}),
        ("confusions/0/diagonal/angry", "9", {"recall_from_diagonal", "label_permutation", "accuracy_from_diagonal"}),
        ("confusions/0/errors/0/count", "5", {"row_total", "column_total", "share_of_row"}),
        ("confusions/0/errors/0/share", "15.8", {"share_of_row"}),
        ("confusions/0/errors", [{"true": "sad", "predicted": "angry", "count": "4"}], {"column_total"}),
        ("percentages/0/called", "f1", set()),  # happy's F1 is .80 as well
        ("percentages/0", {"where": "text", "called": "f1", "percent": "80.0", "of": "sad"}, {"percentage_name"}),
    ],
)
def test_one_wrong_number_is_found_by_its_rules(tmp_path: Path, keys: str, value: Any, rules: set[str]) -> None:
    found = {one.rule for one in contradictions(published(tmp_path, changed(keys, value)))}
    assert rules <= found
    assert found or not rules
    # A wrong class row breaks the averages below it; any other wrong number is found by its own rules only.
    if "/rows/" not in keys and "summary" not in keys:
        assert found == rules


@pytest.mark.parametrize(
    ("keys", "value", "rules"),
    [
        ("tables/Table 3/rows/FP32/2", "25.1", {"fps_from_latency"}),
        ("ratios/0/value", "2.6", {"ratio"}),
        ("tables/Table 3/rows/INT8/0", "0.6", {"size_ratio", "size_from_parameters"}),
        ("tables/Table 3/rows/FP32/0", "6.0", {"size_ratio", "size_from_parameters"}),
        ("networks/the model/head", "mlp256", {"size_from_parameters", "size_of_known_network"}),
    ],
)
def test_one_wrong_number_about_the_network(tmp_path: Path, keys: str, value: Any, rules: set[str]) -> None:
    found = contradictions(published(tmp_path, changed(keys, value)), rules_networks.RULES)
    assert {one.rule for one in found} == rules


def test_the_order_of_a_tables_files_does_not_matter(tmp_path: Path) -> None:
    rows = CONSISTENT["tables"]["Table 3"]["rows"]
    paper = published(tmp_path, changed("tables/Table 3/rows", dict(reversed(rows.items()))))
    ratio = next(rules_networks.size_ratio(paper))
    assert (ratio.verdict, ratio.low, ratio.high) == (AGREES, 0.25, 1.0)


def test_permuted_names_are_assigned_and_explained(tmp_path: Path) -> None:
    """Rows in alphabetical order, named in FER2013's csv order: neutral, sad and surprise change places."""
    counts = {"angry": 10, "disgust": 20, "fear": 30, "happy": 40, "neutral": 50, "sad": 60, "surprise": 70}
    right = {"angry": 9, "disgust": 12, "fear": 6, "happy": 20, "neutral": 15, "sad": 21, "surprise": 7}
    names = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    rows = {name: [f"{right[name] / counts[name]:.2f}", str(counts[name])] for name in counts}
    content = {
        "title": "t", "authors": "a", "year": "2026",
        "tables": {"T": {"holds": "classes", "columns": ["recall", "support"], "rows": rows}},
        "confusions": [{"where": "text", "table": "T", "diagonal": dict(zip(names, right.values(), strict=True))}],
    }  # fmt: skip
    found = {one.rule: one for one in contradictions(published(tmp_path, content))}
    assert found["label_permutation"].implied == "'sad' is neutral, 'surprise' is sad, 'neutral' is surprise"
    assert found["class_order"].implied == "alphabetical order, named in FER2013's csv order"
    content["confusions"][0]["diagonal"]["angry"] = 5  # .5 is the recall of happy, but 5 of 40 are not
    found = {one.rule: one for one in contradictions(published(tmp_path, content))}
    assert found["label_permutation"].implied == "no assignment"
    assert "class_order" not in found
    rows |= {"angry": ["0.90", "10"], "disgust": ["0.90", "10"], "fear": ["0.50", "10"]}
    content["confusions"][0]["diagonal"] = {"angry": 5, "disgust": 9, "fear": 9}  # either 9 may be angry
    found = {one.rule: one for one in contradictions(published(tmp_path, content))}
    assert found["label_permutation"].sentence.startswith("2 assignments to other classes")
    assert found["label_permutation"].implied == "'angry' is fear, 'fear' is angry"  # disgust may keep its name


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rounded_metrics_of_any_confusion_matrix_contradict_nothing(tmp_path_factory: Any, data: Any) -> None:
    k = data.draw(st.integers(2, 5))
    cells = data.draw(st.lists(st.integers(0, 60), min_size=k * k, max_size=k * k))
    matrix = np.array(cells).reshape(k, k) + np.eye(k, dtype=int)
    digits = data.draw(st.integers(2, 4))
    names = ["angry", "disgust", "fear", "happy", "sad"][:k]
    n, right = matrix.sum(1), matrix.diagonal()
    precision, recall = right / matrix.sum(0), right / n
    metrics = {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}

    def text(value: float) -> str:
        return f"{value:.{digits}f}"

    table = {
        "holds": "classes",
        "columns": [*metrics, "support"],
        "rows": {name: [*(text(v[i]) for v in metrics.values()), str(n[i])] for i, name in enumerate(names)},
        "summary": {
            "accuracy": {"accuracy": text(right.sum() / n.sum()), "support": str(n.sum())},
            "macro": {key: text(v.mean()) for key, v in metrics.items()},
            "weighted": {key: text(np.average(v, weights=n)) for key, v in metrics.items()},
        },
    }
    errors = [
        {
            "true": names[i],
            "predicted": names[j],
            "count": str(matrix[i, j]),
            "share": f"{100 * matrix[i, j] / n[i]:.1f}",
        }
        for i in range(k)
        for j in range(k)
        if i != j
    ]
    diagonal = dict(zip(names, map(str, right), strict=True))
    content = {
        "title": "t", "authors": "a", "year": "2026", "classes": {"announced": str(k)},
        "samples": [{"where": "abstract", "split": "test", "count": str(n.sum())}],
        "tables": {"T": table},
        "confusions": [{"where": "text", "table": "T", "diagonal": diagonal, "errors": errors}],
    }  # fmt: skip
    assert contradictions(published(tmp_path_factory.mktemp("paper"), content)) == []


def test_printed_digits_decide_how_exactly_a_number_is_known() -> None:
    assert Interval.printed("0.20") == Interval(0.195, 0.205)
    assert Interval.printed("0.2") == Interval(0.15, 0.25)
    assert Interval.printed("480") == Interval(480, 480)
    assert Interval.printed("2.26", 1e6) == Interval(2255000, 2265000)
    # Corners of P in .175-.185 and R in .195-.205: 2*.175*.195/.37 and 2*.185*.205/.39.
    implied = Interval.of(rules_tables.harmonic, Interval.printed("0.18"), Interval.printed("0.20"))
    assert (implied.low, implied.high) == pytest.approx((0.184459, 0.194487), abs=1e-6)
    weighted = Interval.mean([Interval.printed("0.5"), Interval.printed("1.0")], [3, 1])
    assert (weighted.low, weighted.high) == pytest.approx((0.575, 0.675))
    assert Interval(1, 2).meets(Interval(2, 3))
    assert not Interval(1, 2).meets(Interval(2.001, 3))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("colour", "red", "colour"),
        ("tables/Table 1/holds", "people", "holds 'people'; known: classes"),
        ("tables/Table 1/columns/0", "prec", "column 'prec'; known: precision"),
        ("tables/Table 1/rows/happy", ["0.1"], "row 'happy' has 1 cells for 4 columns"),
        ("tables/Table 1/rows/happy/0", "~0.8", "'~0.8', which is no number"),
        ("tables/Table 1/network", "another", "names the network 'another'"),
        ("confusions/0/table", "Table 9", "names Table 9"),
        ("year", "soon", "year"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, keys: str, value: Any, message: str) -> None:
    with pytest.raises(FerLabError, match=message):
        published(tmp_path, changed(keys, value))


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Finding]]]:
    """Folder and findings of both papers, from what the command line calls."""
    outputs = tmp_path_factory.mktemp("audits")
    found = {}
    for name in ("paper_a", "paper_b"):
        cfg = compose("audit", [f"paper={name}", f"paths.outputs={outputs}", f"paths.experiments={EXPERIMENTS}"])
        result = audit(cfg)
        folder = outputs / "audits" / name
        assert json.loads((folder / "audit.json").read_text()) == result
        found[name] = (folder, [Finding(**one) for one in result["findings"]])
    return found


def one(findings: list[Finding], rule: str, where: str = "") -> Finding:
    found = [finding for finding in findings if finding.rule == rule and where in finding.where]
    assert len(found) == 1, [finding.where for finding in found]
    return found[0]


def test_paper_a_no_ablation_was_printed(audits: dict) -> None:
    findings = audits["paper_a"][1]
    table = next(f for f in findings if f.rule == "rows_under_other_headings" and f.verdict == CONTRADICTS)
    assert (table.where, table.printed) == ("Table 2", "6 of 6 rows under accuracy, macro_f1, notes")
    assert table.implied == "precision, recall, f1 of Table 1"
    for row, emotion in {
        "+ targeted augmentation": "disgust",
        "+ calibration": "neutral",
        "+ EMA smoothing": "sad",
    }.items():
        assert f"'{row}' = {emotion}" in table.sentence


def test_paper_a_counts_and_confusion(audits: dict) -> None:
    findings = audits["paper_a"][1]
    counts = one(findings, "sample_counts")
    assert (counts.verdict, counts.printed, counts.implied) == (CONTRADICTS, "35,000", "3,390")
    names = one(findings, "label_permutation")
    assert (names.verdict, names.implied) == (CONTRADICTS, "'neutral' is surprise, 'sad' is neutral, 'surprise' is sad")
    assert "408/831 = 0.491 (surprise: 0.49)" in names.sentence
    assert one(findings, "class_order").implied == "alphabetical order, named in FER2013's csv order"
    row = one(findings, "row_total", "neutral")
    assert (row.verdict, row.low) == (CONTRADICTS, 408 + 109 + 117 + 108)
    share = one(findings, "percentage_name")
    assert (share.verdict, share.implied) == (CONTRADICTS, "recall of happy = 352/576")
    assert one(findings, "accuracy_from_diagonal").verdict == AGREES
    official = one(findings, "official_class_counts")
    assert (official.verdict, official.printed) == (UNCHECKED, "disgust 111, surprise 831")


def test_paper_a_sizes_and_speeds(audits: dict) -> None:
    findings = audits["paper_a"][1]
    size = one(findings, "size_from_parameters", "FP32")
    assert (size.verdict, size.printed) == (CONTRADICTS, "13.4 MB")
    assert size.low == pytest.approx(1020487 * 4 / 1e6)
    assert "head mlp256 1,020,487 parameters (1,042,103 with moving statistics), 4.1 MB (4.2 MB)" in size.sentence
    assert "head linear 696,647 parameters (715,191 with moving statistics), 2.8 MB (2.9 MB)" in size.sentence
    known = one(findings, "size_of_known_network", "FP32")
    assert (known.verdict, known.implied) == (CONTRADICTS, "mobilenetv2_100 with head linear and 1000 classes")
    assert {f.verdict for f in findings if f.rule in ("fps_from_latency", "ratio", "size_ratio")} == {AGREES}


def test_paper_b(audits: dict) -> None:
    findings = audits["paper_b"][1]
    implied = {"MobileNetV2": 1.0, "EfficientNetB0": 0.89, "MobileNetV3Large": 0.795, "MobileNetV3Small": 0.285}
    exact = {"MobileNetV2": 2257984, "EfficientNetB0": 4049571, "MobileNetV3Large": 2996352, "MobileNetV3Small": 939120}
    for row, accuracy in implied.items():
        found = one(findings, "accuracy_from_diagonal", f"Table 1, {row}")
        assert (found.verdict, found.low) == (CONTRADICTS, pytest.approx(accuracy))
        assert one(findings, "average_recall_from_diagonal", f"Table 1, {row}").verdict == CONTRADICTS
        count = one(findings, "parameter_count", f"Table 1, {row}")
        assert (count.verdict, count.low) == (AGREES, exact[row])
    classes = one(findings, "announced_classes")
    assert (classes.verdict, classes.printed, classes.implied) == (CONTRADICTS, "5 classes", "7 classes")


@pytest.mark.parametrize("name", ["paper_a", "paper_b"])
def test_the_committed_audit_is_what_the_command_writes(audits: dict, name: str) -> None:
    assert (audits[name][0] / "audit.md").read_bytes() == (EXPERIMENTS / name / "audit.md").read_bytes()


@pytest.mark.parametrize(("name", "rows"), [("paper_a", 6), ("paper_b", 5)])
def test_published_rows_for_result_tables(name: str, rows: int) -> None:
    compared = load_published(EXPERIMENTS / name).compare
    assert len(compared) == rows
    for row in compared.values():
        assert set(row.values) == {"test_accuracy", "test_macro_f1"}
        assert row.source.startswith("Table ")
        compose("train", [f"backbone={row.backbone}"])
    if name == "paper_a":
        assert compared["ablation_finetune"].values == {"test_accuracy": 0.43, "test_macro_f1": 0.61}


def test_publish_writes_into_the_papers_folder_and_no_other(tmp_path: Path) -> None:
    home = tmp_path / "experiments" / "made_up"
    home.mkdir(parents=True)
    content = copy.deepcopy(CONSISTENT)
    del content["networks"], content["ratios"]
    content["tables"] = {"Table 1": content["tables"]["Table 1"]}
    del content["tables"]["Table 1"]["network"]
    published(home, content)
    overrides = ["paper=made_up", f"paths.outputs={tmp_path}", f"paths.experiments={home.parent}"]
    audit(compose("audit", overrides))
    assert not (home / "audit.md").exists()
    audit(compose("audit", [*overrides, "publish=made_up"]))
    assert "Contradictions: 0;" in (home / "audit.md").read_text()
    with pytest.raises(FerLabError, match="use publish=made_up"):
        audit(compose("audit", [*overrides, "publish=paper_a"]))
    with pytest.raises(FerLabError, match=r"other/published.yaml does not exist; papers .*: made_up"):
        audit(compose("audit", ["paper=other", *overrides[1:]]))
