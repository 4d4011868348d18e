"""Two rows side by side (hydra/launcher=joblib) against the same two one after the other, as whole commands.

    python experiments/speed/launchers.py [--rounds 5] [--epochs 8] [--samples 4000] [--size 96] [--backbone ...]

Each side is `python -m fer_lab.train sweep=demo` on synthetic faces into an empty folder, start of Python included;
data are prepared before. One after the other, a row has all cores; side by side, each process has its share of them
(conf/hydra/launcher/joblib.yaml); leave OMP_NUM_THREADS unset, which would overrule both. Rounds are interleaved, and
which side goes first alternates; medians of seconds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

LAUNCHERS = {"one after the other": "basic", "side by side": "joblib"}


def seconds(words: list[str], launcher: str) -> float:
    """Wall time of the sweep; its output only where it fails."""
    with tempfile.TemporaryDirectory() as outputs:
        command = [sys.executable, "-m", "fer_lab.train", *words]
        command += [f"hydra/launcher={launcher}", f"paths.outputs={outputs}"]
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        took = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stdout}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--size", type=int, default=96, help="of the network's input, pixels")
    parser.add_argument("--backbone", default="mobilenetv2_035")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        words = ["sweep=demo", f"backbone={options.backbone}", f"input_size={options.size}"]
        words += [f"data.samples={options.samples}", "trainer.progress=false", "trainer.patience=null"]
        words += ["cache.stages=false", "plots=false", f"paths.cache={cache}"]
        seconds([*words, "trainer=smoke", "trainer.max_epochs=1"], "basic")  # prepares the data
        words.append(f"trainer.max_epochs={options.epochs}")
        took: dict[str, list[float]] = {side: [] for side in LAUNCHERS}
        for number in range(options.rounds):
            for side in list(LAUNCHERS)[:: -1 if number % 2 else 1]:
                took[side].append(seconds(words, LAUNCHERS[side]))
                print(f"round {number + 1}, {side}: {took[side][-1]:.1f} s", flush=True)
    first, second = (statistics.median(took[side]) for side in LAUNCHERS)
    load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"medians of {options.rounds}: one after the other {first:.1f} s, side by side {second:.1f} s ({load})")
    print(f"ratio {first / second:.2f} (above 1: side by side is faster)")


if __name__ == "__main__":
    main()
