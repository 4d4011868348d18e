"""What a person needs who takes exported files away: labels, an example with a drawn face, and a model card.

The card is Markdown with the front matter of Hugging Face's model cards (Mitchell et al. 2019, Model Cards for Model
Reporting). Every number in it comes from the run's record, its export, its benchmark or its evaluation.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from omegaconf import DictConfig, OmegaConf

from fer_lab.data.synthetic import generate_faces
from fer_lab.deploy.runtimes import Classifier
from fer_lab.evaluation.run import LoadedRun
from fer_lab.evaluation.test_split import file_hash
from fer_lab.results.benchmarked import processor
from fer_lab.results.record import read_record, write_json
from fer_lab.results.scrub import scrub
from fer_lab.results.spread import spread
from fer_lab.results.suite_files import read_results
from fer_lab.results.words import count
from fer_lab.schema import deciding_part

CARD, EXAMPLE, FACE, LABELS = "README.md", "example.py", "sample_face.npy", "labels.json"
_HERE = Path(__file__).parent
_SCORES = ("accuracy", "macro_f1", "ece", "nll")
_ABOUT_LABELS = {
    "fer": "Labels are judgements of photographs found on the web; people agree with FER2013's on 65 ± 5 % of the "
    "faces (Goodfellow et al. 2013, Challenges in Representation Learning).",
    "synthetic": "The faces are drawn: nothing follows for real ones.",
}
_TAGS = ["facial-expression-recognition", "emotion-recognition", "onnx", "quantization"]


def write_takeaway(
    folder: Path, run: LoadedRun, files: Mapping[str, Mapping[str, Any]], test: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write labels.json, example.py, its face and the model card beside the exported files.

    Args:
        folder: where the files are; run: what they came from; files, test: of export.json.

    Returns:
        What export.json records as `sample`: the face's file and sha256, and by file the probabilities it gives.
    """
    size, colours = run.native_size, 3 if run.channels == "rgb" else 1
    face = np.repeat(generate_faces(1, seed=0, size=size).images[0], colours, axis=-1)  # drawn, of nobody
    np.save(folder / FACE, face)
    shutil.copyfile(_HERE / EXAMPLE, folder / EXAMPLE)
    write_json(folder / LABELS, list(run.class_names))
    (folder / CARD).write_text(card(run.folder, files, test), encoding="utf-8", newline="\n")
    answers = {
        entry["file"]: Classifier.load(folder / entry["file"]).probabilities(face[np.newaxis])[0].tolist()
        for entry in files.values()
    }
    return {"face": FACE, "sha256": file_hash(folder / FACE), "probabilities": answers}


def refresh_card(run: Path) -> Path | None:
    """Write the card of an exported run again, with what has been measured since; None where nothing is exported."""
    listing = run / "export" / "export.json"
    if not listing.is_file():
        return None
    path = listing.parent / CARD
    content = json.loads(listing.read_text())
    path.write_text(card(run, content["files"], content.get("test")), encoding="utf-8", newline="\n")
    return path


def card(run: Path, files: Mapping[str, Mapping[str, Any]], test: Mapping[str, Any] | None = None) -> str:
    """The model card of a completed run's exported files.

    Args:
        run: the run's folder; files: the entries of its export.json; test: what that says of a search's choice.
    """
    record = read_record(run)
    assert record is not None
    cfg = OmegaConf.load(run / "config.yaml")
    assert isinstance(cfg, DictConfig)
    siblings = _seeds(run, record, cfg)
    shown = "test" if "test" in record["metrics"] else "validation"
    metrics, data = record["metrics"][shown], record["data"]
    colours, calibration = 3 if data["channels"] == "rgb" else 1, record["calibration"]
    timed, speed = _speed(run)
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("model_card.md.j2").render(
        front=yaml.safe_dump(_front(record, siblings, shown), sort_keys=False, allow_unicode=True, width=120),
        name=record["experiment"],
        classes=record["model"]["class_names"],
        record=record,
        data=data,
        files=[{"network": None, **entry, "ms": timed.get(entry["file"])} for entry in files.values()],
        speed=speed,
        lost=_lost(test),
        cropped=cfg.data.get("crop", "none") != "none" or bool(data["crop_margin"]),
        shape=(data["size"], data["size"], colours),
        channels=data["channels"],
        aligned=cfg.data.get("crop") == "detect" and bool(cfg.data.get("align")),
        abstain=record["metrics"]["validation"].get("selective", {}).get("threshold"),
        scores=[_scores(split, siblings) for split in ("validation", "test") if split in record["metrics"]],
        seeds=_said_seeds(siblings),
        shown=f"the {shown} split",
        per_class=metrics["per_class"],
        robustness=_robustness(run, record["key"]),
        calibration=calibration,
        before=f"{metrics['ece_uncalibrated']:.4f}",
        after=f"{metrics['ece']:.4f}",
        counts=", ".join(f"{number:,} {split}" for split, number in data["faces"].items()),
        weights=_weights(record["pretraining"]),
        about_labels=next((said for name, said in _ABOUT_LABELS.items() if data["name"].startswith(name)), None),
        versions=", ".join(f"{name} {record['versions'][name]}" for name in ("fer_lab", "torch", "onnxruntime")),
    )


def _front(record: Mapping[str, Any], siblings: list[dict[str, Any]], shown: str) -> dict[str, Any]:
    """Hugging Face's metadata block: https://huggingface.co/docs/hub/model-cards."""
    names = {"accuracy": ("accuracy", "Accuracy"), "macro_f1": ("f1", "Macro-F1"), "ece": ("ece", "ECE")}
    metrics = []
    for key, (kind, title) in names.items():
        value = spread([one["metrics"][shown][key] for one in siblings])
        assert value is not None  # the run is one of them
        metrics.append({"type": kind, "name": f"{title}, {count(value.n, 'seed')}", "value": round(value.mean, 4)})
    task = {"type": "image-classification", "name": "Facial expression recognition"}
    data = {"type": record["data"]["name"], "name": record["data"]["name"], "split": shown}
    return {
        "license": "other",
        "license_name": "see-data-and-licences",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": _TAGS,
        "datasets": [record["data"]["name"]],
        "metrics": ["accuracy", "f1"],
        "model-index": [
            {"name": record["experiment"], "results": [{"task": task, "dataset": data, "metrics": metrics}]}
        ],
    }


def _seeds(run: Path, record: dict[str, Any], cfg: DictConfig) -> list[dict[str, Any]]:
    """Records of the completed runs beside this one that differ in nothing but the seed, this one among them."""

    def recipe(config: DictConfig) -> dict[str, Any]:
        return {key: value for key, value in deciding_part(config).items() if key != "seed"}

    found = []
    for path in sorted(run.resolve().parent.glob("seed*/record.json")):
        other, config = read_record(path.parent), path.parent / "config.yaml"
        if other is None or other["status"] != "completed" or other["data_hash"] != record["data_hash"]:
            continue
        loaded = OmegaConf.load(config)
        if isinstance(loaded, DictConfig) and recipe(loaded) == recipe(cfg):
            found.append(other)
    return found or [record]


def _said_seeds(siblings: list[dict[str, Any]]) -> str:
    seeds = ", ".join(str(one["seed"]) for one in siblings)
    if len(siblings) == 1:
        return f"One seed ({seeds}): another may come out differently."
    return f"Mean ± standard deviation over {len(siblings)} seeds ({seeds}); the files are of one of them."


def _scores(split: str, siblings: list[dict[str, Any]]) -> dict[str, Any]:
    found = {key: spread([one["metrics"][split][key] for one in siblings]) for key in _SCORES}
    texts = {key: value.text() for key, value in found.items() if value}
    return {"split": split, "n": siblings[0]["metrics"][split]["n"], **texts}


def _speed(run: Path) -> tuple[dict[str, float], str]:
    """Median milliseconds a face by file, and the sentence that says how they were measured."""
    path = run / "benchmark.json"
    if not path.is_file():
        return {}, "Latency was not measured yet: `python -m fer_lab.benchmark run=<folder>`."
    content = json.loads(path.read_text())
    entries = [entry for entry in content["entries"] if entry["batch"] == 1 and entry.get("latency_ms_median")]
    threads = count(entries[0]["threads"], "thread") if entries else "no thread"
    sentence = f"Latency: median, batch of one, {threads}, {processor(content['hardware'])}."
    return {Path(entry["file"]).name: entry["latency_ms_median"] for entry in entries}, sentence


def _lost(test: Mapping[str, Any] | None) -> str | None:
    """What a search's choice loses on the test split, in words."""
    drops = (test or {}).get("drops", {}).items()
    said = [
        f"{d['points']:.2f} points of {n.replace('_f1', '-F1')} [{d['low']:.2f}, {d['high']:.2f}]" for n, d in drops
    ]
    return " and ".join(said) or None


def _robustness(run: Path, key: str) -> dict[str, Any] | None:
    """The network's accuracy by scenario and severity, where the suite has been run on this very network."""
    found = read_results(run / "evaluation" / "robustness")
    result = next((one for one in found.values() if one["run_key"] == key and one["scenarios"]), None)
    if result is None:
        return None
    rows = [
        {
            "name": name.replace("_", " "),
            "levels": [f"{level['accuracy']:.3f}" for level in scenario["severities"]],
            "mean": f"{scenario['accuracy']:.3f}",
        }
        for name, scenario in result["scenarios"].items()
    ]
    return {"rows": rows, "clean": f"{result['clean']['accuracy']:.3f}", "split": result["data"]["split"]}


def _weights(pretraining: str | Mapping[str, str]) -> str:
    if isinstance(pretraining, str):
        return "none, trained from scratch"
    return f"{scrub(pretraining['weights'])} (sha256 {pretraining['sha256'][:12]}), under their own licence"
