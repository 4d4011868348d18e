"""The wheel: what it holds, and that it works alone, away from the checkout."""

import itertools
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, **options) -> str:
    """Standard output of a command that succeeds."""
    result = subprocess.run(
        [*command], capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL, **options
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from this checkout, offline."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The wheel, unpacked as pip would into a folder of its own, with its console script."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "--target", target, wheel)
    return target


def tree(folder: Path, suffix: str) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob(f"*{suffix}")}


def test_the_wheel_holds_every_module_and_config_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {f"fer_lab/{name}" for name in tree(ROOT / "fer_lab", ".py")}
    configs = {f"fer_lab/conf/{name}" for name in tree(ROOT / "conf", ".yaml")}
    assert modules | configs <= names
    assert {Path(name).suffix for name in names - modules - configs} <= {".j2", ".css", ".js", ".html", ".md"}


@pytest.fixture
def alone(installed, tmp_path) -> dict:
    """Where and how to run the installed wheel: in an empty folder, before anything else on the path."""
    return {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(installed)}}


def test_the_wheel_works_in_another_folder_with_its_own_configs(installed, alone):
    where = run(sys.executable, "-c", "import fer_lab.schema as s; print(s.__file__, s.CONF_DIR)", **alone)
    assert where.split() == [str(installed / "fer_lab" / "schema.py"), str(installed / "fer_lab" / "conf")]
    assert "loss=focal" in run(installed / "bin" / "fer-lab", "__complete", "train", "loss=f", **alone).split()


@pytest.mark.parametrize("command", ["tables", pytest.param("train", marks=pytest.mark.slow)])
def test_the_wheel_s_commands_compose_their_configs(command, installed, alone):
    printed = run(installed / "bin" / "fer-lab", command, "--help", "seed=7", **alone)
    assert "loss: cross_entropy, focal" in printed
    assert "seed: 7\n" in printed
    assert list(alone["cwd"].iterdir()) == []


def test_the_checkout_is_installed_without_a_copy_of_its_configs():
    # a copy beside other packages would go stale while conf/ is edited
    find = "import sys, pathlib; print(*(p for p in sys.path if pathlib.Path(p, 'fer_lab', 'conf').exists()))"
    assert run(sys.executable, "-c", find, cwd="/") == "\n"


def test_every_dependency_is_pinned_by_name_and_version_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.!+]+", line)] == []
    pinned = {line.partition("==")[0] for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    assert {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in wanted} <= pinned
