"""What a million faces cost: time and private memory until the first training batch, on a cache that exists.

    python experiments/speed/million_rows.py [--faces 1000000] [--folder <folder with 5 GB free>]

Faces of random pixels, 48×48 grey, with subjects and an own split, are decoded into a cache by `build_data`, in a
process of its own. Another process, started afresh, opens it: `build_data`, the data module and its first batch, as
`train` does. Seconds are of that, once with the imports of torch and its company and once without; private memory is
psutil's USS, so pages of the memory-mapped faces, which the kernel may drop at any time, do not count.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGUN = time.perf_counter()

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from fer_lab.data.datamodule import FaceDataModule  # noqa: E402
from fer_lab.data.dataset import FaceData, build_data  # noqa: E402
from fer_lab.data.source import SPLITS, Face, Source  # noqa: E402
from fer_lab.schema import compose  # noqa: E402

CHUNK = 1000


@dataclass(kw_only=True)
class RandomFaces(Source):
    """Random pixels, made a chunk at a time; ten faces a subject; seven of ten train, three share the other splits."""

    name = "random"
    licence = "generated, public domain"

    samples: int
    source_seed: int = 0

    def expected(self) -> int:
        return self.samples

    def read(self) -> Iterator[Face]:
        rng = np.random.default_rng(self.source_seed)
        for first in range(0, self.samples, CHUNK):
            images = rng.integers(0, 256, (min(CHUNK, self.samples - first), 48, 48, 1), np.uint8)
            for i, image in enumerate(images, first):
                side = 0 if i % 10 < 7 else 1 + i // 10 % 2
                columns = {"subject": f"subject-{i // 10:06d}"}
                yield Face(
                    f"random-{i:08d}", image, self.class_names[i % 7], SPLITS[side], f"face {i}", columns=columns
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--folder", default=None, help="where a temporary folder is made")
    parser.add_argument("--only", choices=("build", "start"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(_measure(options.only, options.faces, Path(options.folder))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for step in ("build", "start"):
            print(f"{step}: {json.dumps(measured(step, options.faces, Path(folder)), indent=1)}")


def measured(step: str, faces: int, folder: Path) -> dict[str, float]:
    """Run `build` or `start` in a fresh process and return what it measured."""
    words = [sys.executable, __file__, "--only", step, "--faces", str(faces), "--folder", str(folder)]
    ran = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout.strip().splitlines()[-1])


def _measure(step: str, faces: int, folder: Path) -> dict[str, float]:
    process, peak = psutil.Process(), _Peak()
    before, start, cpu = process.memory_full_info().uss, time.perf_counter(), time.process_time()
    source = ["data._target_=million_rows.RandomFaces", f"data.samples={faces}"]
    cfg = compose("train", [*source, f"paths.cache={folder}", "augment=moderate"])
    data = build_data(cfg)
    module = _first_batch(cfg, data) if step == "start" else None
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    found = {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "seconds_with_imports": time.perf_counter() - BEGUN,
        "private_mb_of_imports": before / 1e6,
        "private_mb": process.memory_full_info().uss / 1e6,
        "peak_private_mb": peak.highest / 1e6,
    }
    if module:
        split = module.train_split
        sizes = {"ids": split.ids.nbytes, "groups": split.groups.nbytes, "labels": split.labels.nbytes}
        found |= {f"mb_of_{name}": size / 1e6 for name, size in sizes.items()}
        found["faces_of_training"] = len(split)
    return {name: round(value, 2) for name, value in found.items()}


def _first_batch(cfg: DictConfig, data: FaceData) -> FaceDataModule:
    module = FaceDataModule(data, cfg.augment, cfg.seed, cfg.trainer.batch_size)
    batch = next(iter(module.train_dataloader()))
    assert len(batch["target"]) == cfg.trainer.batch_size
    return module


class _Peak(threading.Thread):
    """Looks twenty times a second how much anonymous memory the process holds (Linux: RssAnon), in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0.0
        self.start()

    def run(self) -> None:
        while status := Path("/proc/self/status").read_text():
            now = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon"))
            self.highest = max(self.highest, now)
            time.sleep(0.05)


if __name__ == "__main__":
    main()
