"""A damaged model file gives a sentence: no crash of the process that opens it, and no answer of damaged weights.

Of 2,500 mutated files given to the bare runtimes (ONNX Runtime 1.31, OpenVINO 2026.4, LiteRT 2.3) none ended its
process by a signal, but they are C++ that promises nothing, and 38 % answered, with whatever their weights had become.
So no runtime sees a file before one of two things holds:

- its seal fits: the SHA-256 of all its bytes, written into the file itself by the exporter, in a form that readers of
  the format skip. Any bit that has changed since, and any byte missing, breaks it. Costs reading and hashing the file,
  some milliseconds.
- it has no seal (made by other tools, or by an older version): a child process opens it first and asks it one face.
  Costs the start of a Python process, half a second or more, at each opening.

A seal tells damage, not malice: whoever forges a file can seal it. Files from strangers go through `probe`.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from fer_lab.errors import FerLabError

NAME = b"fer_lab_sha256"
#: What stands before and after the hexadecimal digest at the very end of a file. ONNX: an entry of metadata_props
#: (protobuf field 14, 82 bytes: key 1, value 2). OpenVINO: an XML comment. TFLite: bytes after the flatbuffer.
MARKS = {
    ".onnx": (b"\x72\x52\x0a\x0e" + NAME + b"\x12\x40", b""),
    ".xml": (b"\n<!-- " + NAME + b" ", b" -->\n"),
    ".tflite": (b"\n" + NAME + b" ", b""),
}
DIGEST = 64
PROBE_SECONDS, PROBE_BYTES, REFUSED = 60, 16 << 30, 3


def seal(path: Path) -> Path:
    """Append to a file that was just written the SHA-256 of its bytes (and, for an .xml, of its .bin)."""
    before, after = MARKS[path.suffix]
    digest = _digest(path, path.read_bytes())
    with path.open("ab") as file:
        file.write(before + digest + after)
    return path


def is_sealed(path: Path) -> bool:
    """Whether a file has a seal; raises FerLabError where it has one that does not fit, or its .bin is missing."""
    if path.suffix not in MARKS:
        return False
    if path.suffix == ".xml" and not path.with_suffix(".bin").exists():
        raise FerLabError(f"{path} lacks its weights: put {path.with_suffix('.bin').name} beside it")
    before, after = MARKS[path.suffix]
    content = path.read_bytes()
    end = len(content) - len(after)
    body = end - DIGEST - len(before)
    if body < 0 or content[end:] != after or content[body : end - DIGEST] != before:
        return False
    if _digest(path, content[:body]) != content[end - DIGEST : end]:
        raise FerLabError(f"{path} was damaged after its export (its SHA-256 differs): copy or export it again")
    return True


def _digest(path: Path, content: bytes) -> bytes:
    digest = hashlib.sha256(content)
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and weights.exists():
        digest.update(weights.read_bytes())
    return digest.hexdigest().encode()


def probe(path: Path) -> None:
    """Open `path` and ask it one black face in a child process.

    Raises:
        FerLabError: the child was refused the file, was killed by it, or took longer than PROBE_SECONDS.
    """
    command = [sys.executable, "-m", "fer_lab.deploy.safe", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, env=environment)
    except subprocess.TimeoutExpired as error:
        raise FerLabError(
            f"{path} keeps its runtime busy for {PROBE_SECONDS} s: it is malformed, export it again"
        ) from error
    if done.returncode == REFUSED:
        raise FerLabError((done.stdout.strip().splitlines() or [f"{path} was refused"])[-1])
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        raise FerLabError(f"{path} makes its runtime crash ({how}): it is malformed, export it again")


def main(path: Path) -> int:
    """What the child of `probe` does; 0, or REFUSED after printing why."""
    try:  # a mutated size must not take the machine's memory
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (PROBE_BYTES, PROBE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass
    from fer_lab.deploy.runtimes import open_file

    try:
        classifier = open_file(path, 1)
        face = np.zeros((1, *classifier.metadata.face_shape), np.uint8)
        answered, classes = classifier.probabilities(face).shape, len(classifier.class_names)
        if answered != (1, classes):
            raise FerLabError(f"{path} answers {answered} probabilities of {classes} classes: export it again")
    except FerLabError as error:
        print(error)
        return REFUSED
    except Exception as error:  # whatever a runtime thinks of: it is no crash
        print(f"{path} cannot be run ({_first_line(error)}): it is malformed, export it again")
        return REFUSED
    return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(status)  # a runtime that trips over its own ruins at exit says nothing about the file
