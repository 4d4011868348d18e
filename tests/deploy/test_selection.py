import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from fer_lab.deploy.selection import each_row, find_run
from fer_lab.errors import FerLabError
from fer_lab.schema import compose


def write(
    outputs: Path, row: str, seed: int, validation: float, test: float = 0.5, status: str = "completed", **more: float
) -> None:
    folder = outputs / row / f"seed{seed}"
    folder.mkdir(parents=True)
    metrics = {"validation": {"macro_f1": validation, "nll": 1.0, **more}, "test": {"macro_f1": test}}
    (folder / "record.json").write_text(json.dumps({"status": status, "experiment": row, "metrics": metrics}))


def test_best_completed_row_by_validation(tmp_path: Path) -> None:
    cfg = compose("export", ["sweep=demo", f"paths.outputs={tmp_path}"])
    with pytest.raises(FerLabError, match="no row of sweep=demo has a completed run"):
        find_run(cfg)
    write(tmp_path, "demo_cross_entropy", 0, 0.60, test=0.9)
    write(tmp_path, "demo_focal", 0, 0.55)
    write(tmp_path, "demo_focal", 1, 0.70, test=0.1)
    write(tmp_path, "demo_focal", 2, 0.99, status="running")
    write(tmp_path, "another_row", 0, 0.99)
    assert find_run(cfg) == tmp_path / "demo_focal" / "seed1"


def test_of_rows_on_the_same_logits_the_calibrated_one(tmp_path: Path) -> None:
    write(tmp_path, "demo_cross_entropy", 0, 0.70, nll=1.3)
    write(tmp_path, "demo_focal", 0, 0.70, nll=1.1)
    assert find_run(compose("export", ["sweep=demo", f"paths.outputs={tmp_path}"])).parent.name == "demo_focal"


def test_a_run_that_was_scored_on_the_faces_its_calibration_was_fitted_on_is_not_the_best(tmp_path: Path) -> None:
    cfg = compose("export", ["sweep=demo", f"paths.outputs={tmp_path}"])
    write(tmp_path, "demo_cross_entropy", 0, 0.70)
    write(tmp_path, "demo_focal", 0, 0.75)
    path = tmp_path / "demo_focal" / "seed0" / "record.json"
    record = json.loads(path.read_text()) | {"calibration": {"method": "isotonic", "x": [], "y": []}}
    path.write_text(json.dumps(record))
    assert find_run(cfg).parent.name == "demo_cross_entropy"
    record["metrics"]["validation"]["cross_fitted"] = 5
    path.write_text(json.dumps(record))
    assert find_run(cfg).parent.name == "demo_focal"


def test_run_is_taken_as_given_and_something_must_be() -> None:
    assert find_run(compose("export", ["run=outputs/x/seed3"])) == Path("outputs/x/seed3")
    with pytest.raises(FerLabError, match="say which run"):
        find_run(compose("benchmark"))


def test_all_rows_their_first_completed_seed_and_no_derived_one(tmp_path: Path) -> None:
    for row, seed, more in (
        ("demo_cross_entropy", 0, {"status": "failed"}), ("demo_cross_entropy", 1, {}), ("demo_cross_entropy", 2, {}),
        ("demo_focal", 0, {"parent": "demo_cross_entropy"}),
    ):  # fmt: skip
        folder = tmp_path / row / f"seed{seed}"
        folder.mkdir(parents=True)
        record = {"status": "completed", "experiment": row, "metrics": {}} | more
        (folder / "record.json").write_text(json.dumps(record))
    seen = each_row(lambda cfg: {"run": cfg.run})
    both = compose("export", ["sweep=demo", "run=all", f"paths.outputs={tmp_path}"])
    assert seen(both) == {"runs": [{"run": str(tmp_path / "demo_cross_entropy" / "seed1")}]}
    assert seen(compose("export", ["run=x"])) == {"run": "x"}


def test_a_row_that_is_refused_stops_no_other(tmp_path: Path) -> None:
    write(tmp_path, "demo_cross_entropy", 0, 0.70)
    write(tmp_path, "demo_focal", 0, 0.75)
    done: list[str] = []

    def command(cfg: DictConfig) -> dict[str, Any]:
        if "cross_entropy" in cfg.run:
            raise FerLabError(f"{cfg.run} was not exported")
        done.append(cfg.run)
        return {}

    with pytest.raises(FerLabError, match=r"1 of 2 rows were refused: .*demo_cross_entropy/seed0 was not exported"):
        each_row(command)(compose("benchmark", ["sweep=demo", "run=all", f"paths.outputs={tmp_path}"]))
    assert done == [str(tmp_path / "demo_focal" / "seed0")]
