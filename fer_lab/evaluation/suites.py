"""What `evaluate` asks, of what, about which faces: frozen files, faces of a split, a suite, and its results on disk.

A suite (conf/suite) is called with a :class:`Trial` and returns what it found of each file. Nothing is ever chosen by
it: files, calibration and thresholds are frozen before the test split opens (`fer_lab.evaluation.test_split`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from omegaconf import DictConfig
from rich import print as say

from fer_lab.data.dataset import FaceData, FaceSplit, build_data
from fer_lab.data.shared_classes import SharedFaces, shared_classes, shared_faces
from fer_lab.deploy.copies import Copies
from fer_lab.errors import FerLabError
from fer_lab.evaluation.calibration import Calibration
from fer_lab.evaluation.metrics import compute_metrics
from fer_lab.evaluation.predict import of_network, predict
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.test_split import Frozen, file_hash, open_test_split
from fer_lab.results.record import read_record, write_json
from fer_lab.results.scrub import scrub
from fer_lab.results.suite_files import is_stale, read_results
from fer_lab.results.suite_tables import write_rows

#: Of `compute_metrics`, what a suite keeps of each of its many splits.
KEPT = ("n", "accuracy", "macro_f1", "nll", "ece")


@dataclass(frozen=True)
class Model:
    """A frozen file that is asked.

    Attributes:
        name: of the file, and of its results; path, digest: the file and its sha256 when it was frozen.
        logits: uint8 N×H×W×C to float32 N×K; it may be called from several threads at once, each using one.
        calibration: fitted on validation, of this very file.
    """

    name: str
    path: Path
    digest: str
    logits: Callable[[np.ndarray], np.ndarray]
    calibration: Calibration


@dataclass(frozen=True)
class Trial:
    """What a suite is called with.

    Attributes:
        run: whose files they are; models: those files; split: the faces, as the files take them.
        class_names: the classes of `split.labels`, and of all answers.
        shared: how another source's faces were reduced to the shared classes; None for the run's own data.
        data: name, manifest hash and licence of the source; folder: where the suite's results go.
    """

    run: LoadedRun
    models: Sequence[Model]
    split: FaceSplit
    class_names: tuple[str, ...]
    shared: SharedFaces | None
    data: Mapping[str, str]
    folder: Path

    def answers(self, model: Model, logits: np.ndarray) -> np.ndarray:
        """Logarithms of calibrated probabilities over `class_names`, float64 N×S, of a file's logits, float N×K."""
        if self.shared is None:
            return model.calibration.log_probabilities(logits)
        return self.shared.logits(model.calibration.probabilities(logits))

    def metrics(self, model: Model, logits: np.ndarray) -> dict[str, Any]:
        """`compute_metrics` of a file's logits, float N×K, on the trial's faces; over shared classes without the scores
        before calibration, which comes first there."""
        labels, votes = self.split.labels, self.split.votes
        if self.shared is None:
            return compute_metrics(logits, labels, self.class_names, model.calibration, votes)
        scores = compute_metrics(self.answers(model, logits), labels, self.class_names, 1.0, votes)
        return {key: value for key, value in scores.items() if not key.endswith("_uncalibrated")}

    def scored(self, answers: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """`compute_metrics` of some faces' answers, float64 M×S, and labels, int64 M."""
        return compute_metrics(answers, labels, self.class_names, 1.0)

    def faces_hash(self) -> str:
        """16 hex digits of which faces are asked about: ids, labels and pixels (by their groups)."""
        digest = hashlib.sha256(",".join(self.class_names).encode())
        digest.update(self.split.labels.astype(np.int64).tobytes())
        digest.update("\n".join(f"{i} {g}" for i, g in zip(self.split.ids, self.split.groups, strict=True)).encode())
        digest.update(str(self.split.images.shape).encode())
        return digest.hexdigest()[:16]


class Suite(Protocol):
    """A group file of conf/suite, built.

    Attributes:
        name: of the results' folder; split: test, or validation for what people look at.
    """

    name: str
    split: str

    def check(self, run: LoadedRun, data: FaceData, folder: str) -> None:
        """Refuse what can be refused before the split opens, which is counted; here nothing.

        Args:
            run: whose files will be asked; data: whose faces; folder: of the results, below `<run>/evaluation`.
        """

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        """What it found, JSON by the files' names."""
        ...

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        """Tables and figures of all results of a folder."""
        ...

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """What the terminal shows: the same keys in each."""
        ...


class Clean(Suite):
    """The faces as they are: what `evaluate` does by default."""

    name, split = "clean", "test"

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        return {
            model.name: trial.metrics(model, predict(model.logits, trial.split, f"Test, {model.name}"))
            for model in trial.models
        }

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        return write_rows(folder, self.rows(found), "The faces as they are")

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"file": name, **{key: result[key] for key in KEPT}} for name, result in found.items()]


def frozen_models(cfg: DictConfig, run: LoadedRun) -> list[Model]:
    """The file `model=` names, or the run's own network and every file that its export.json describes.

    A file that export.json describes must still be that file, which `open_test_split` checks; others are frozen as
    they are now. A file from elsewhere has a part of its hash in its name, so that results never mix.

    Raises:
        FerLabError: a file is missing or answers other classes than the run's.
    """
    exported = exported_files(run.folder)
    models = []
    spelled = {path.resolve(): path for path in (run.weights, *exported)}
    for path in [Path(cfg.model)] if cfg.model else [run.weights, *exported]:
        path = spelled.get(path.resolve(), path)
        if path == run.weights:
            own = of_network(run.network)
            models.append(Model(path.name, path, file_hash(path), own, run.calibration))
            continue
        classifier = Copies(path, torch.get_num_threads(), run.class_names)
        digest = exported[path]["sha256"] if path in exported else file_hash(path)
        known = path in exported or path.parent == run.folder / "export"
        name = path.name if known else f"{path.stem}-{digest[:8]}{path.suffix}"
        models.append(
            Model(name, path, digest, classifier.logits, Calibration.from_dict(classifier.metadata.calibration))
        )
    return models


def exported_files(folder: Path) -> dict[Path, dict[str, Any]]:
    """Files that a run's export.json describes, with their entries."""
    path = folder / "export" / "export.json"
    files = json.loads(path.read_text())["files"].values() if path.exists() else []
    return {folder / "export" / entry["file"]: entry for entry in files}


def run_of_model(path: str | Path) -> Path:
    """The run whose export folder a file lies in; a file from elsewhere needs `run=`.

    Raises:
        FerLabError: there is none.
    """
    folder = Path(path).parent.parent
    if read_record(folder) is None:
        raise FerLabError(f"model={path} lies in no run's export folder; say whose it is with run=<folder>.")
    return folder


def asked_data(cfg: DictConfig, run: LoadedRun) -> FaceData:
    """The run's own data, or those of `data=` on the command line.

    Raises:
        FerLabError: the run's data have changed since it was trained, or a key of data= is given without data=.
    """
    words = [word.lstrip("+~").split("=")[0] for word in cfg.get("overrides", [])]
    given = [word for word in words if word == "data" or word.startswith("data.")]
    if given and "data" not in given:
        raise FerLabError(
            f"{given[0]} says how to read data, but not which; add data=<source>, for example data=folder."
        )
    data = build_data(cfg if given else run.cfg)
    if not given and data.meta["hash"] != run.record["data_hash"]:
        raise FerLabError(
            f"{run.folder}: its data has changed since (manifest {run.record['data_hash']}, now {data.meta['hash']}); "
            "train again on what is there now."
        )
    return data


def open_trial(run: LoadedRun, models: Sequence[Model], data: FaceData, suite: Suite) -> Trial:
    """Open the suite's split for frozen files; each opening of the test split is in the record before a file is asked.

    Raises:
        FerLabError: the suite refuses its settings, a file has changed since it was frozen, or the data have no test
            face or share no two classes with the run.
    """
    own = data.meta["hash"] == run.record["data_hash"]
    folder = suite.name if own else f"{suite.name}__{data.meta['name']}-{data.meta['hash'][:8]}"
    if not own:
        shared_classes(data, run.class_names)  # refuses what has too few, before an opening is counted
    suite.check(run, data, folder)
    if suite.split == "test":
        if not data.meta["faces"]["test"]:
            raise FerLabError(f"{data.meta['name']} has no test face; data.fractions=[0,0,1] makes all of them such.")
        for model in models:
            said = f"evaluate {model.name}" + ("" if suite.name == "clean" else f" suite={suite.name}")
            said += "" if own else f" data={data.meta['name']}"
            frozen = Frozen({model.path: model.digest}, model.calibration)
            split = open_test_split(data, frozen, said, run.record["test_openings"])
        write_json(run.folder / "record.json", run.record)
    else:
        split = data.split(suite.split)
    faces = (run.class_names, run.native_size, 1 if run.channels == "grey" else 3, run.crop_margin)
    shared = None if own else shared_faces(split, data, *faces, _seen(run))
    return Trial(
        run=run,
        models=models,
        split=shared.split if shared else split,
        class_names=shared.class_names if shared else run.class_names,
        shared=shared,
        data={key: data.meta[key] for key in ("name", "hash", "licence")},
        folder=run.folder / "evaluation" / folder,
    )


def _seen(run: LoadedRun) -> np.ndarray | None:
    """Groups (uint64, equal for equal pixels) of the run's training and validation faces; None if these are gone."""
    with suppress(FerLabError):
        data = build_data(run.cfg)
        if data.meta["hash"] == run.record["data_hash"]:
            return np.concatenate([data.split(name).groups for name in ("train", "validation")])
    return None


def save_results(trial: Trial, suite: Suite, found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Write `<file>.json` of each file, and tables and figures of all files whose results are of the same faces.

    Older results of other files are among them while these files, and the code that draws, are still the same; others
    are named and left out.

    Returns:
        All those results by file name.
    """
    trial.folder.mkdir(parents=True, exist_ok=True)
    faces, by_name = trial.faces_hash(), {model.name: model for model in trial.models}
    for name, result in found.items():
        about = {
            "suite": suite.name,
            "file": name,
            "sha256": by_name[name].digest,
            "run_key": trial.run.record["key"],
            "data": {**trial.data, "split": suite.split, "faces": faces, "n": len(trial.split)},
            "class_names": list(trial.class_names),
            "note": trial.shared.sentence if trial.shared else "",
        }
        write_json(trial.folder / f"{name}.json", about | result)
    drawn_by = {result.get("drawn_by") for result in found.values()}
    there, run = read_results(trial.folder, faces), trial.run.folder
    together = {k: one for k, one in there.items() if not is_stale(run, one) and one.get("drawn_by") in drawn_by}
    if older := ", ".join(sorted(there.keys() - together.keys())):
        say(f"[yellow]Left out[/yellow]: {older}, asked before the file or the drawings changed; evaluate it again.")
    suite.write(trial.folder, together)
    return together


def publish_results(folder: Path, suite: Suite, together: Mapping[str, dict[str, Any]]) -> None:
    """Keep a suite's results in a folder without any machine's paths, and write tables and figures from the copies."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in together.items():
        text = json.dumps(scrub(dict(result)), allow_nan=False, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    kept = read_results(folder)  # the copies; what another run left there belongs to no table of this one
    suite.write(folder, {name: result for name, result in kept.items() if name in together})
