"""The robustness suite: every scenario at five severities, what each costs, and whether the papers' claims hold.

Logits are kept as they come, one file for each network, scenario and severity, under a key of the network's hash, the
faces and the code that draws. So a stopped call goes on where it was, and every score is computed from logits alone.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from fer_lab.data.dataset import FaceData
from fer_lab.errors import FerLabError
from fer_lab.evaluation.claims import judge
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.scenarios import DRAWN_BY, SCENARIOS, SEVERITIES, corrupted
from fer_lab.evaluation.suites import KEPT, Model, Suite, Trial
from fer_lab.results.corruption_error import corruption_error
from fer_lab.results.record import write_json
from fer_lab.results.robustness_tables import write_robustness
from fer_lab.results.suite_files import is_stale

_CHUNK = 32  # faces drawn and asked about at a time: memory does not grow with the split
_CLEAN = "clean"
_LEVELS = range(1, len(SEVERITIES) + 1)


class Robustness(Suite):
    """Scores in every scenario, their drop against the faces as they are, corruption errors and claims.

    Args:
        scenarios: names of `SCENARIOS`, those that are asked about now; None for all.
        baseline: folder of a run that was evaluated in the same way, whose errors normalise the corruption error.
        workers: threads that draw and ask side by side; None for as many as torch would use.

    Raises:
        FerLabError: a scenario is unknown.
    """

    name, split = "robustness", "test"

    def __init__(
        self, scenarios: Sequence[str] | None = None, baseline: str | None = None, workers: int | None = None
    ) -> None:
        scenarios = [scenarios] if isinstance(scenarios, str) else scenarios
        if unknown := [name for name in scenarios or () if name not in SCENARIOS]:
            raise FerLabError(f"suite.scenarios: '{unknown[0]}' is unknown; known: {', '.join(SCENARIOS)}.")
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise FerLabError(f"suite.workers={workers} must be a whole number above 0, or null.")
        self.scenarios = list(scenarios or SCENARIOS)
        self.baseline = Path(baseline) if baseline else None
        self.workers = workers or torch.get_num_threads()

    def check(self, run: LoadedRun, data: FaceData, folder: str) -> None:
        """Raises FerLabError where the baseline has not been evaluated, or on other data or with other drawings."""
        if self.baseline:
            read_baseline(self.baseline, folder, data.meta["hash"])

    def __call__(self, trial: Trial) -> dict[str, dict[str, Any]]:
        """Raises FerLabError where the baseline was asked about other faces of the same data."""
        baseline = read_baseline(self.baseline, trial.folder.name, trial.data["hash"]) if self.baseline else None
        if baseline and baseline["data"]["faces"] != trial.faces_hash():
            raise FerLabError(f"suite.baseline={self.baseline} knows other classes, so it was asked about other faces.")
        stores = {model.name: LogitStore(trial, model) for model in trial.models}
        seconds = self._ask(trial, stores)
        found = {}
        for model in trial.models:
            result = summarise(trial, model, stores[model.name].read())
            result |= {"drawn_by": DRAWN_BY, "seconds": seconds}
            result["mce"] = corruption_error(result, baseline, str(self.baseline)) if baseline else None
            found[model.name] = result
        return found

    def _ask(self, trial: Trial, stores: Mapping[str, "LogitStore"]) -> float:
        """Fill the stores; a corrupted face is drawn once for all files. Returns the wall seconds this call took."""
        started = time.perf_counter()
        tasks = [(_CLEAN, 0), *((name, level) for name in self.scenarios for level in _LEVELS)]
        asked = {
            task: models
            for task in tasks
            if (models := [model for model in trial.models if not stores[model.name].has(*task)])
        }
        with Progress(transient=True) as progress, ThreadPoolExecutor(self.workers, initializer=_one_thread) as pool:
            bar = progress.add_task("Robustness", total=len(asked) * len(trial.split))

            def answer(chunk: tuple[str, int, int]) -> list[np.ndarray]:
                scenario, level, start = chunk
                faces = np.array(trial.split.images[start : start + _CHUNK])
                if scenario != _CLEAN:
                    faces = corrupted(faces, trial.split.ids[start : start + _CHUNK], scenario, level)
                answers = [model.logits(faces) for model in asked[scenario, level]]
                progress.advance(bar, len(faces))
                return answers

            for (scenario, level), models in asked.items():
                progress.update(bar, description=f"{scenario} {level or ''}".strip())
                chunks = [(scenario, level, start) for start in range(0, len(trial.split), _CHUNK)]
                parts = list(pool.map(answer, chunks))
                for model, logits in zip(models, zip(*parts, strict=True), strict=True):
                    stores[model.name].save(scenario, level, np.concatenate(logits))
        return round(time.perf_counter() - started, 1)

    def write(self, folder: Path, found: Mapping[str, dict[str, Any]]) -> list[Path]:
        return write_robustness(folder, found)

    def rows(self, found: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        asked = [name for name in SCENARIOS if any(name in result["scenarios"] for result in found.values())]
        return [
            {
                "file": file,
                "clean": result["clean"]["accuracy"],
                "mean_error": result["mean_error"],
                "mCE": (result["mce"] or {}).get("mce"),
                **{name: result["scenarios"].get(name, {}).get("accuracy") for name in asked},
                **{claim["claim"]: claim["verdict"] for claim in result["claims"]},
                "seconds": result["seconds"],
            }
            for file, result in found.items()
        ]


def _one_thread() -> None:
    torch.set_num_threads(1)  # of this thread: the chunks are what runs side by side


class LogitStore:
    """Logits of one file, kept as `<folder>/logits/<file>/<scenario>-<severity>.npy` (float32 N×K).

    Kept logits of another file, of other faces or drawn by other code are removed first.
    """

    def __init__(self, trial: Trial, model: Model) -> None:
        self.folder = trial.folder / "logits" / model.name
        key = {"sha256": model.digest, "faces": trial.faces_hash(), "drawn_by": DRAWN_BY, "severities": SEVERITIES}
        kept = self.folder / "key.json"
        if not kept.exists() or kept.read_bytes() != (json.dumps(key, indent=1) + "\n").encode():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_json(kept, key)

    def has(self, scenario: str, level: int) -> bool:
        """Whether these logits are kept."""
        return _is_whole(self._path(scenario, level))

    def save(self, scenario: str, level: int, logits: np.ndarray) -> None:
        """Keep them; a kill leaves all of them or none."""
        path = self._path(scenario, level)
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, logits)
        os.replace(path.with_suffix(".part"), path)

    def read(self) -> dict[str, list[np.ndarray]]:
        """Logits by severity of every scenario that is kept whole, in the order of tables; of `clean`, one."""
        whole = {name: [self._path(name, level) for level in _LEVELS] for name in SCENARIOS}
        whole = {_CLEAN: [self._path(_CLEAN, 0)], **whole}
        return {name: [np.load(p) for p in paths] for name, paths in whole.items() if all(map(_is_whole, paths))}

    def _path(self, scenario: str, level: int) -> Path:
        return self.folder / f"{scenario}-{level}.npy"


def _is_whole(path: Path) -> bool:
    """Whether an array file is there and as long as it says."""
    try:
        np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


def summarise(trial: Trial, model: Model, logits: Mapping[str, Sequence[np.ndarray]]) -> dict[str, Any]:
    """Scores of all scenarios from their logits.

    Returns:
        clean: scores; scenarios: {name: means over severities of accuracy, macro_f1, nll, ece and error, their `drop`
        against clean, `recall_drop` by class, `confusion` summed over severities, and `severities`: scores of each};
        mean_error: the mean of the scenarios' errors, which nothing is normalised by; claims (`judge`).
    """
    clean = _scores(trial, model, logits[_CLEAN][0])
    scenarios = {}
    for name, levels in logits.items():
        if name == _CLEAN:
            continue
        scores = [_scores(trial, model, level) for level in levels]
        means = {key: float(np.mean([one[key] for one in scores])) for key in KEPT[1:]}
        recalls = {c: [one["recall"][c] for one in scores] for c, r in clean["recall"].items() if r is not None}
        scenarios[name] = {
            **means,
            "error": 1 - means["accuracy"],
            "drop": {key: clean[key] - means[key] for key in ("accuracy", "macro_f1")},
            "recall_drop": {c: clean["recall"][c] - float(np.mean(values)) for c, values in recalls.items()},
            "confusion": np.sum([one["confusion"] for one in scores], axis=0).tolist(),
            "severities": scores,
        }
    answers = {name: [trial.answers(model, one).argmax(1) for one in levels] for name, levels in logits.items()}
    errors = [scenario["error"] for scenario in scenarios.values()]
    return {
        "severities": list(SEVERITIES),
        "clean": clean,
        "scenarios": scenarios,
        "mean_error": float(np.mean(errors)) if errors else None,
        "claims": judge(answers, trial.split.labels, trial.split.groups, trial.class_names, key=model.digest),
    }


def _scores(trial: Trial, model: Model, logits: np.ndarray) -> dict[str, Any]:
    metrics = trial.metrics(model, logits)
    recall = {name: values["recall"] for name, values in metrics["per_class"].items()}
    return {key: metrics[key] for key in KEPT} | {"recall": recall, "confusion": metrics["confusion"]}


def read_baseline(folder: Path, name: str, data_hash: str) -> dict[str, Any]:
    """The results of a baseline run's own network on the same data.

    Args:
        folder: of the run; name: of the results, below its `evaluation`; data_hash: of the data's manifest.

    Raises:
        FerLabError: there are none, or they are of other data, other drawings or an earlier network.
    """
    path = folder / "evaluation" / name / "model.safetensors.json"
    if not path.exists():
        raise FerLabError(
            f"suite.baseline={folder} holds no {path.relative_to(folder)}; evaluate that run first, with "
            "suite=robustness and the same data."
        )
    try:
        result = json.loads(path.read_text())
    except ValueError as error:
        raise FerLabError(f"{path} is damaged ({error}); evaluate {folder} again.") from error
    if (result["data"]["hash"], result["drawn_by"]) != (data_hash, DRAWN_BY) or is_stale(folder, result):
        raise FerLabError(
            f"{path} is of other data, of an earlier network, or of scenarios drawn by older code; evaluate {folder} "
            "again, with the same data."
        )
    return result
