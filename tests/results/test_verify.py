"""What `make verify` rebuilds beside tables: kept results of suites, audits of papers; and what it names instead."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_lab.errors import FerLabError
from fer_lab.results.verify import kept, not_rebuilt, problems, verify
from fer_lab.schema import CONF_DIR

EXPERIMENTS = CONF_DIR.parent / "experiments"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Experiments of one suite's results and of an audit that needs the data."""
    for name in ("fer2013_subgroups", "fer2013_audit"):
        shutil.copytree(EXPERIMENTS / name, tmp_path / name)
    return tmp_path


def test_everything_kept_is_rebuilt_or_named() -> None:
    found = [path.relative_to(EXPERIMENTS).as_posix() for path in kept(EXPERIMENTS)]
    assert {"fer2013_robustness", "fer2013_subgroups", "paper_a", "paper_a/ablation", "paper_b", "rq2"} <= {*found}
    assert [path.name for path in not_rebuilt(EXPERIMENTS)] == ["fer2013_audit"]
    generated = {path.parent for name in ("table.md", "audit.md", "*.csv") for path in EXPERIMENTS.glob(f"*/{name}")}
    assert generated <= {*kept(EXPERIMENTS), *not_rebuilt(EXPERIMENTS)}


def test_a_changed_digit_of_a_suite_is_found(copies: Path, capsys: pytest.CaptureFixture) -> None:
    folder = copies / "fer2013_subgroups"
    assert verify(copies) == [folder]
    said = " ".join(capsys.readouterr().err.split())
    assert "fer2013_subgroups: as its records say" in said
    assert "fer2013_audit: not rebuilt" in said
    path = sorted(folder.glob("*.json"))[0]
    result = json.loads(path.read_text())
    result["overall"]["accuracy"] += 0.01
    path.write_text(json.dumps(result))
    assert ["results.csv, line" in problems(folder)[0], "table.md, line" in problems(folder)[1]] == [True, True]
    with pytest.raises(FerLabError, match=r"differ from their records: .*fer2013_subgroups"):
        verify(copies)
    path.write_text("{")
    with pytest.raises(FerLabError, match="is not valid JSON"):
        verify(copies)


def test_a_changed_audit_is_found(tmp_path: Path) -> None:
    paper = tmp_path / "paper_b"
    paper.mkdir()
    for name in ("published.yaml", "audit.md"):
        shutil.copyfile(EXPERIMENTS / "paper_b" / name, paper / name)
    assert kept(tmp_path) == [paper]
    assert problems(paper) == []
    text = (paper / "audit.md").read_text()
    (paper / "audit.md").write_text(text.replace("Contradictions: ", "Contradictions: 1", 1))
    assert "Contradictions: 1" in problems(paper)[0]


def test_suites_are_verified_without_torch(copies: Path) -> None:
    code = "import sys, pathlib; from fer_lab.results.verify import verify; verify(pathlib.Path(sys.argv[1]));"
    code += "print([name for name in ('torch', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(copies)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
