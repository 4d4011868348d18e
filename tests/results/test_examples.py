"""Faces of confused pairs in the report: drawn ones by default, people only on request and only below outputs."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fer_lab.results.examples import MOST, confused_faces
from fer_lab.results.report import write_report, write_reports
from fer_lab.schema import compose

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def decoded(tmp_path, run_factory, gather):
    """`decoded("synthetic")` gives a one-row table whose validation faces are in the cache."""

    def make(name, **changes):
        record = run_factory("demo_a", 0, recall=0.5, predictions=True)
        record["data"] |= {"name": name, **changes}
        run = tmp_path / "demo_a" / "seed0"
        (run / "record.json").write_text(json.dumps(record))
        folder = tmp_path / "cache" / "faces-0123"
        folder.mkdir(parents=True)
        ids = pq.read_table(run / "validation_predictions.parquet")["sample_id"].to_pylist()
        pq.write_table(pa.table({"sample_id": ids}), folder / "validation.parquet")
        np.random.default_rng(0).integers(0, 256, (len(ids), 8, 8, 1), np.uint8).tofile(folder / "validation.u8")
        meta = {"hash": record["data"]["hash"], "size": 8, "channels": 1}
        (folder / "meta.json").write_text(json.dumps(meta))
        return gather(["demo_a"], [0])

    return make


def faces_in(path):
    return path.read_text().count("data:image/png;base64,")


def test_the_faces_are_of_the_pair(decoded, tmp_path):
    row = decoded("synthetic").rows[0]
    found = confused_faces(row, [("fear", "surprise"), ("fear", "fear")], tmp_path / "cache")
    assert 0 < len(found["fear", "surprise"]) <= MOST
    table = pq.read_table(tmp_path / "demo_a" / "seed0" / "validation_predictions.parquet").to_pandas()
    logits = table.filter(like="logit_")
    wrong = (table["label"] == "fear") & (logits.idxmax(axis=1) == "logit_surprise")
    assert len(found["fear", "surprise"]) == min(int(wrong.sum()), MOST)
    assert len(set(found["fear", "surprise"])) == len(found["fear", "surprise"])


@pytest.mark.parametrize(
    ("name", "wanted", "shown"),
    [("synthetic", None, True), ("synthetic", False, False), ("fer2013", None, False), ("fer2013", True, True)],
)
def test_people_are_shown_only_on_request(decoded, tmp_path, name, wanted, shown):
    path = write_report(decoded(name), tmp_path / "report.html", tmp_path / "cache", wanted)
    assert (faces_in(path) > 0) is shown


def test_photographs_that_are_named_like_drawn_faces_stay_hidden(decoded, tmp_path):
    results = decoded("synthetic", licence="taken with consent")
    assert faces_in(write_report(results, tmp_path / "report.html", tmp_path / "cache")) == 0


def test_people_never_leave_the_outputs_folder(decoded, tmp_path):
    results = decoded("fer2013")
    outputs = tmp_path / "outputs"
    for copy, shown in ((outputs / "copy.html", True), (tmp_path / "elsewhere" / "report.html", False)):
        where = [f"paths.outputs={outputs}", f"paths.cache={tmp_path / 'cache'}", f"report={copy}"]
        first = write_reports(results, outputs / "report.html", compose("tables", ["table.examples=true", *where]))
        assert faces_in(first) > 0
        assert (faces_in(copy) > 0) is shown


def test_without_the_data_there_are_none(decoded, tmp_path):
    row = decoded("synthetic").rows[0]
    assert confused_faces(row, [("fear", "surprise")], tmp_path / "nothing") == {}
    (tmp_path / "cache" / "faces-0123" / "validation.u8").write_bytes(b"cut short")
    assert confused_faces(row, [("fear", "surprise")], tmp_path / "cache") == {}
