"""Mutated and truncated model files give an answer or a sentence, never a crash or a hang of the process that asks.

Each file is opened by Classifier.load in a child process, which writes down how it went and with which file it began.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fer_lab.deploy.safe import DIGEST, MARKS

SEALED = ("onnx", "xml", "tflite")
FORMATS = (*SEALED, "ckpt")

#: Opens the files named on its input, one a line, and writes after each what became of it.
CHILD = """
import sys, numpy as np
from fer_lab.deploy.runtimes import Classifier
from fer_lab.errors import FerLabError
for line in sys.stdin:
    path = line.strip()
    print("open", flush=True)
    try:
        classifier = Classifier.load(path)
        classifier.probabilities(np.zeros((1, *classifier.metadata.face_shape), np.uint8))
        print("answered", flush=True)
    except FerLabError as error:
        assert str(error)
        print("refused", flush=True)
"""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Content with a few bytes changed, a part cut off, doubled, blanked, or replaced by noise."""
    changed = bytearray(content)
    start, length = int(rng.integers(len(changed))), int(rng.integers(1, 200))
    match int(rng.integers(6)):
        case 0:
            return bytes(changed[:start])
        case 1:
            del changed[start : start + length]
        case 2:
            changed[start:start] = changed[start : start + length]
        case 3:
            changed[start : start + length] = bytes(len(changed[start : start + length]))
        case 4:
            changed[start : start + length] = rng.bytes(len(changed[start : start + length]))
        case _:
            for i in rng.integers(len(changed), size=int(rng.integers(1, 20))):
                changed[i] = rng.integers(256)
    return bytes(changed)


def without_seal(content: bytes, suffix: str) -> bytes:
    before, after = MARKS[suffix]
    return content[: len(content) - len(before) - DIGEST - len(after)]


@pytest.fixture
def original(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A whole file of a format, in a folder of its own (a checkpoint: in its run's)."""
    if kind == "ckpt":
        shutil.copytree(request.getfixturevalue("tiny_run"), tmp_path / "run")
        return next((tmp_path / "run").glob("checkpoints/*/best.ckpt"))
    file: Path = request.getfixturevalue({"onnx": "fp32_file", "xml": "openvino_file", "tflite": "tflite_file"}[kind])
    if kind == "xml":
        shutil.copy(file.with_suffix(".bin"), tmp_path)
    return Path(shutil.copy(file, tmp_path))


def fuzz(original: Path, count: int, seed: int, sealed: bool) -> Counter:
    """How often a child that opened `count` mutations of `original` was answered or refused.

    sealed: with the seal that the exporter wrote, which no longer fits; else without one.
    """
    rng, content = np.random.default_rng(seed), original.read_bytes()
    if not sealed:
        content = without_seal(content, original.suffix)
    files = []
    for i in range(count):
        path = original.with_name(f"fuzz{i}{original.suffix}")
        path.write_bytes(mutate(content, rng))
        weights = original.with_suffix(".bin")
        if original.suffix == ".xml":  # every other time the weights are damaged too
            path.with_suffix(".bin").write_bytes(mutate(weights.read_bytes(), rng) if i % 2 else weights.read_bytes())
        files.append(path)
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input="\n".join(map(str, files)), capture_output=True, text=True, timeout=3000
    )
    outcomes = [line for line in done.stdout.splitlines() if line in ("answered", "refused")]
    assert done.returncode == 0, f"{files[len(outcomes)]}: {done.returncode} {done.stderr[-2000:]}"
    for path in files:
        path.unlink()
        path.with_suffix(".bin").unlink(missing_ok=True)
    counted = Counter(outcomes)
    assert counted.total() == count
    print(json.dumps({"file": original.name, "sealed": sealed} | counted))
    return counted


@pytest.fixture(scope="module")
def checkpoints(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Counter]]:
    """Six damaged checkpoints, tried while the other formats are: a run is loaded for each."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("checkpoints") / "run"))
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(fuzz, next(run.glob("checkpoints/*/best.ckpt")), 6, seed=0, sealed=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_refused(kind: str, original: Path, checkpoints: Future[Counter]) -> None:
    outcomes = checkpoints.result() if kind == "ckpt" else fuzz(original, 20, seed=0, sealed=True)
    count = outcomes.total()
    # zeros over zeros change nothing, and an archive has bytes that nobody reads
    assert outcomes["refused"] >= count // 2


@pytest.mark.parametrize("kind", SEALED)
def test_damaged_files_without_seal_are_tried_by_a_child(kind: str, original: Path) -> None:
    fuzz(original, 4, seed=1, sealed=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_five_hundred(kind: str, original: Path) -> None:
    fuzz(original, 500, seed=2, sealed=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEALED)
def test_five_hundred_without_seal(kind: str, original: Path) -> None:
    fuzz(original, 500, seed=3, sealed=False)
