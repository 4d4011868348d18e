import json
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from fer_lab.errors import FerLabError
from fer_lab.schema import compose, config_hash
from fer_lab.tables import tables
from tests.results.conftest import make_run
from tests.training.test_loggers import records

ROWS = ("demo_cross_entropy", "demo_focal")


def test_demo_table_from_records(tmp_path):
    outputs, copy = tmp_path / "outputs", tmp_path / "elsewhere" / "report.html"
    for row in ROWS:
        expected = compose("train", ["sweep=demo", f"experiment={row}", "seed=0"])
        make_run(outputs, row, 0, config_hash=config_hash(expected))
    make_run(outputs, "demo_focal", 1, config_hash="of an earlier config")
    cfg = compose("tables", ["sweep=demo", f"paths.outputs={outputs}", f"report={copy}"])
    done = tables(cfg)

    assert done["completed"] == 2
    assert [row.status for row in done["results"].rows] == ["completed", "partial"]
    assert done["results"].row("demo_focal").runs[1].problem == "seed 1 stale"
    names = sorted(path.name for path in (outputs / "tables" / "demo").iterdir())
    assert names == ["report.html", "results.csv", "table.md", "table.tex", "timings.csv"]
    assert copy.read_bytes() == done["report"].read_bytes()

    before = {name: (done["folder"] / name).read_bytes() for name in names}
    tables(cfg)
    assert {name: (done["folder"] / name).read_bytes() for name in names} == before


def make_table(outputs, **changes):
    """The demo's two rows with predictions, as they compose now."""
    for row in ROWS:
        cfg = compose("train", ["sweep=demo", f"experiment={row}", "seed=0"])
        make_run(outputs, row, 0, predictions=True, config_hash=config_hash(cfg), **changes)


def test_publish_verify_and_a_changed_digit(tmp_path, capsys):
    outputs, experiments = tmp_path / "outputs", tmp_path / "experiments"
    make_table(outputs)
    kept = experiments / "paper" / "demo"
    where = [f"paths.outputs={outputs}", f"paths.experiments={experiments}"]
    tables(compose("tables", ["sweep=demo", *where, f"publish={kept}"]))
    verify = compose("tables", ["verify=true", f"paths.experiments={experiments}"])
    assert tables(verify) == {"verified": [kept]}

    path = kept / "table.md"
    before = path.read_text()
    path.write_text(before.replace("| 0.", "| 1.", 1))
    with pytest.raises(FerLabError, match=f"differ from their records: {kept};"):
        tables(verify)
    assert f"{path}, line 5: '" in capsys.readouterr().err

    tables(compose("tables", [f"publish={kept}"]))  # written again from its own records
    assert path.read_text() == before
    assert tables(verify) == {"verified": [kept]}


def test_nothing_kept_is_nothing_to_verify(tmp_path, capsys):
    assert tables(compose("tables", ["verify=true", f"paths.experiments={tmp_path}"])) == {"verified": []}
    assert "nothing to verify" in " ".join(capsys.readouterr().err.split())


def test_stale_rows_name_their_keys(tmp_path, capsys):
    make_table(tmp_path)
    run = tmp_path / "demo_focal" / "seed0"
    OmegaConf.save(compose("train", ["sweep=demo", "experiment=demo_focal", "loss.gamma=1.5"]), run / "config.yaml")
    record = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps(record | {"config_hash": "older"}))
    done = tables(compose("tables", ["sweep=demo", f"paths.outputs={tmp_path}"]))
    assert done["results"].row("demo_focal").runs[0].problem == "seed 0 stale: loss.gamma: 1.5 -> 2.0"
    assert "loss.gamma: 1.5 -&gt; 2.0" in done["report"].read_text()
    printed = capsys.readouterr().out
    assert "demo_focal, seed 0 stale: loss.gamma: 1.5 -> 2.0\nStale: give the overrides that train was given" in printed
    assert "demo_cross_entropy, " not in printed


def test_the_finished_table_goes_to_wandb(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    make_table(tmp_path)
    tables(compose("tables", ["sweep=demo", f"paths.outputs={tmp_path}", "logger=wandb", "logger.wandb.mode=offline"]))
    assert wandb.run is None
    (run,) = (tmp_path / "tables" / "demo" / "wandb").glob("offline-run-*")
    sent = records(run)
    for word in (b"table.table.json", b"numbers.table.json", b"results.csv", b"table.md", b"class_f1"):
        assert word in sent, word
    assert b"latency.png" not in sent  # nothing was benchmarked
    shown, numbers = (json.loads(next(run.glob(f"files/media/table/{n}_*")).read_text()) for n in ("table", "numbers"))
    assert [line[0] for line in shown["data"]] == list(ROWS)
    assert shown["columns"][-1] == "Checkpoint (MB)"
    assert all(isinstance(line[numbers["columns"].index("test_macro_f1")], float) for line in numbers["data"])
    assert len(list(run.glob("files/media/images/class_f1_*.png"))) == 1


def test_the_same_table_is_the_same_wandb_run(tmp_path, monkeypatch):
    import wandb

    make_table(tmp_path)
    seen = []

    def init(**arguments):
        seen.append(arguments)
        raise FerLabError("no network here")

    monkeypatch.setattr(wandb, "init", init)
    for _ in range(2):
        with pytest.raises(FerLabError, match="no network here"):
            tables(compose("tables", ["sweep=demo", f"paths.outputs={tmp_path}", "logger=wandb"]))
    assert seen[0] == seen[1]
    assert (seen[0]["group"], seen[0]["job_type"], seen[0]["resume"]) == ("demo", "table", "allow")


def test_no_sweep_is_one_sentence(tmp_path):
    with pytest.raises(FerLabError, match="sweep=demo"):
        tables(compose("tables", [f"paths.outputs={tmp_path}"]))


def test_tables_starts_without_torch():
    code = "import sys, fer_lab.tables; print([m for m in ('torch', 'lightning', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_some_of_the_rows_are_compared_with_the_first_of_them(tmp_path):
    make_table(tmp_path)
    where = f"paths.outputs={tmp_path}"
    done = tables(compose("tables", ["sweep=demo", "table.rows=[demo_focal]", where]))
    assert (done["completed"], done["results"].baseline) == (1, "demo_focal")
    for said, sentence in (
        ("table.seeds=[]", "leaves nothing to show"),
        (
            "table.baseline=demo_focus",
            "table.baseline=demo_focus is not one of the rows: demo_cross_entropy, demo_focal",
        ),
    ):
        with pytest.raises(FerLabError, match=sentence.replace("[", r"\[")):
            tables(compose("tables", ["sweep=demo", said, where]))
