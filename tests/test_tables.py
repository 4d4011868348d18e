import subprocess
import sys

import pytest

from fer_lab.errors import FerLabError
from fer_lab.schema import compose, config_hash
from fer_lab.tables import tables
from tests.results.conftest import make_run

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


def test_no_sweep_is_one_sentence(tmp_path):
    with pytest.raises(FerLabError, match="sweep=demo"):
        tables(compose("tables", [f"paths.outputs={tmp_path}"]))


def test_tables_starts_without_torch():
    code = "import sys, fer_lab.tables; print([m for m in ('torch', 'lightning', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
