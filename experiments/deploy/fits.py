"""What fitting layers anew gives: a run's INT8 files with and without it, and its changed networks before and after.

    python experiments/deploy/fits.py <run folder> [--faces 1000] [--runtimes onnxruntime openvino litert]
    python experiments/deploy/fits.py <run folder> --changes relu6 --tmacs 1 2 --runtimes    what distillation adds

Prints accuracy and macro-F1 on validation faces, evenly spread, and how many answers differ from the trained network's.
The test split is not opened.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.metrics import f1_score

from fer_lab.data.dataset import build_data
from fer_lab.deploy.activations import mean_gates
from fer_lab.deploy.copies import Copies
from fer_lab.deploy.distill import Distillation, remeasure
from fer_lab.deploy.ladder import Rung
from fer_lab.deploy.quantization import StaticInt8
from fer_lab.deploy.reconstruct import reconstruct
from fer_lab.deploy.runtimes import describe
from fer_lab.deploy.workshop import CHANGES, FITTED, Workshop
from fer_lab.evaluation.predict import of_network
from fer_lab.evaluation.run import load_run

BATCH = 16


def answers(logits_of: Callable[[np.ndarray], np.ndarray], faces: np.ndarray) -> np.ndarray:
    """int64 N: the class of the greatest logit."""
    return np.concatenate([logits_of(np.array(faces[i : i + BATCH])) for i in range(0, len(faces), BATCH)]).argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--runtimes", nargs="*", default=["onnxruntime", "openvino", "litert"])
    parser.add_argument("--changes", nargs="*", default=list(CHANGES), help="default: all")
    parser.add_argument("--tmacs", nargs="*", type=float, default=[], help="distil for so many 10^12 multiply-adds")
    options = parser.parse_args()
    run = load_run(options.run)
    data, metadata = build_data(run.cfg), describe(run)
    training, validation = data.split("train"), data.split("validation")
    rows = np.linspace(0, len(validation) - 1, options.faces).astype(int)
    faces, labels = validation.images[rows], validation.labels[rows]
    trained = answers(of_network(run.network), faces)

    def show(name: str, given: np.ndarray) -> None:
        f1 = f1_score(labels, given, average="macro", zero_division=0)
        print(f"{name:60s} {(given == labels).mean():.4f} {f1:.4f} {(given != trained).mean():.1%}", flush=True)

    def teach(rows: np.ndarray) -> np.ndarray:
        given = of_network(run.network)
        return np.concatenate([given(training.images[rows[i : i + BATCH]]) for i in range(0, len(rows), BATCH)])

    print(f"{'':60s} accuracy, macro-F1, other answers")
    show("trained", trained)
    few = training.images[np.sort(np.random.default_rng(0).permutation(len(training))[:FITTED])]
    for name in options.changes:
        changed = CHANGES[name](run.network, few, mean_gates(run.network, few))
        fitted, _ = reconstruct(changed, run.network, few)
        remeasure(changed, few)
        show(f"{name}, BatchNorm measured anew", answers(of_network(changed), faces))
        show(f"{name}, layers fitted", answers(of_network(fitted), faces))
        anew = copy.deepcopy(fitted)
        remeasure(anew, few)
        show(f"{name}, layers fitted, BatchNorm measured anew", answers(of_network(anew), faces))
        for tmacs in options.tmacs:
            started, macs = time.perf_counter(), run.record["model"]["macs"]
            learned, done = Distillation(tmacs=tmacs)(fitted, teach, training, macs, 0)
            took = f"{done['steps']} steps, {time.perf_counter() - started:.0f} s"
            show(f"{name}, layers fitted, distilled ({took})", answers(of_network(learned), faces))
    with TemporaryDirectory() as folder:
        for count in (0, 2048):
            workshop = Workshop(run, training, StaticInt8(), Distillation(), 0, refit_faces=count)
            for runtime in options.runtimes:
                file = workshop.write(Rung("int8", runtime, "int8"), metadata, Path(folder) / f"{count}", draft=False)
                classifier = Copies(file, torch.get_num_threads())
                last = "last layer fitted" if count else "as quantised"
                show(f"INT8, {runtime}, {last}", answers(classifier.logits, faces))


if __name__ == "__main__":
    main()
