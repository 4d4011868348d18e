"""Out-of-fold probabilities of the training faces, each by a model that learned without it, its near-duplicates
and its subject.

They come from k-fold runs of the real network (`run=<folder>`, below which the runs of `data.folds` lie), or, within
minutes, from logistic regression on features of the frozen pretrained backbone. A network fine-tuned on these labels
would not do: its features have seen them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from scipy.special import softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from fer_lab.data.dataset import FaceSplit, build_data
from fer_lab.data.label_noise import confusions, disputed_by_raters, kept_together, rank_labels, rater_votes
from fer_lab.data.source import Source
from fer_lab.errors import FerLabError
from fer_lab.models.network import build_network

#: Of `data.group_by`: what a run's folds must not have divided.
_TOGETHER = ("group", "near", "subject")
_FOLDS = 5
_BATCH = 32
#: Values kept of a feature map, and components kept of all of them together.
_LARGEST, _COMPONENTS = 2500, 400
#: Maps from this side length down: larger ones hold edges, no expressions.
_LARGEST_SIDE = 12


def label_noise(
    cfg: DictConfig, source: Source, facts: pd.DataFrame, folder: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Rank the training faces by how likely their label is wrong.

    Args:
        cfg: `data`, `backbone`, `input_size`, `run`, `paths.cache`; source: of `cfg.data`; facts: of its faces.
        folder: receives `label_noise.csv`, the ranking, and `label_noise_exclude.txt`, the ids that cleanlab flags.

    Returns:
        probabilities (how they came about), accuracy (of them), faces, issues (flagged), confusions [(label, suggested,
        faces)] and raters (:func:`fer_lab.data.label_noise.disputed_by_raters`, None without votes); and the ranking.

    Raises:
        FerLabError: the data cannot be decoded, the runs do not hold every training face, or the weights are absent.
    """
    data = build_data(cfg)
    train = data.split("train")
    ids = np.asarray(train.ids, dtype=object)
    if cfg.run:
        probabilities, how = _of_runs(Path(cfg.run), ids, data.class_names)
    else:
        network = build_network(cfg, len(data.class_names))
        probabilities = out_of_fold(_features(network, train), train.labels, kept_together(facts, ids))
        pretraining = network.backbone.pretraining
        weights = pretraining if isinstance(pretraining, str) else pretraining["weights"]
        how = f"{_FOLDS}-fold logistic regression on the frozen {network.backbone.timm_name} (weights: {weights})"
    ranking = rank_labels(ids, train.labels, probabilities, data.class_names)
    ranking.to_csv(folder / "label_noise.csv", index=False)
    flagged = ranking.loc[ranking["flagged"], "sample_id"]
    (folder / "label_noise_exclude.txt").write_text("".join(f"{name}\n" for name in flagged), encoding="utf-8")
    votes = rater_votes(source) if train.votes is None else pd.DataFrame(train.votes, ids, list(data.class_names))
    found = {
        "probabilities": how,
        "accuracy": round(float((probabilities.argmax(1) == train.labels).mean()), 4),
        "faces": len(train),
        "issues": len(flagged),
        "confusions": confusions(ranking),
        "raters": None if votes is None else disputed_by_raters(ranking, votes),
    }
    return found, ranking


def out_of_fold(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities of logistic regressions, for each face of one that was fitted on the other folds.

    Args:
        features: float N×D; labels: int64 N, every class 0 to K - 1 present; groups: N, never divided by a fold.

    Returns:
        float64 N×K.

    Raises:
        FerLabError: a class has too few faces for the folds.
    """
    # scaling and components see no label, so they may see all faces
    components = min(_COMPONENTS, *features.shape)
    squeeze = make_pipeline(
        StandardScaler(), PCA(components, svd_solver="randomized", iterated_power=2, random_state=0), StandardScaler()
    )
    inputs = squeeze.fit_transform(features)
    probabilities = np.zeros((len(labels), labels.max() + 1))
    folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(labels, labels, groups)
    for inside, outside in track(list(folds), "Out-of-fold probabilities", transient=True):
        if len(missing := np.setdiff1d(labels, labels[inside])):
            raise FerLabError(f"Class {missing[0]} has too few training faces for {_FOLDS} folds: no label noise.")
        model = LogisticRegression(C=0.01, max_iter=300).fit(inputs[inside], labels[inside])
        probabilities[outside] = model.predict_proba(inputs[outside])
    return probabilities


@torch.inference_mode()
def _features(network: nn.Module, split: FaceSplit) -> np.ndarray:
    """float32 N×D: what a frozen backbone makes of each face, the last map of every resolution from 12×12 down.

    The last map alone is made for ImageNet's objects; those before it still know where an edge is.
    """
    steps = [network.preprocess, *network.backbone.steps()]
    for step in steps:
        step.eval()

    def maps(faces: np.ndarray) -> Iterator[Tensor]:
        inputs = torch.from_numpy(faces)
        for step in steps:
            inputs = step(inputs)
            yield inputs

    sides = [output.shape[-1] for output in maps(np.array(split.images[:1]))]
    kept = [i for i, side in enumerate(sides) if side <= _LARGEST_SIDE and [*sides, 0][i + 1] < side] or [
        len(steps) - 1
    ]

    def of_batch(faces: np.ndarray) -> np.ndarray:
        outputs = [output for i, output in enumerate(maps(faces)) if i in kept]
        pooled = [adaptive_avg_pool2d(output, _side(output)).flatten(1) for output in outputs]
        return torch.cat(pooled, dim=1).numpy()

    firsts = track(range(0, len(split), _BATCH), "Features of the training faces", transient=True)
    return np.concatenate([of_batch(np.array(split.images[first : first + _BATCH])) for first in firsts])


def _side(output: Tensor) -> int:
    """Side length to which a map N×C×s×s is pooled, so that no map has more than `_LARGEST` values."""
    return max(1, min(output.shape[-1], int((_LARGEST / output.shape[1]) ** 0.5)))


def _of_runs(folder: Path, ids: np.ndarray, class_names: tuple[str, ...]) -> tuple[np.ndarray, str]:
    """Probabilities N×K from the validation predictions of k-fold runs below a folder."""
    paths = sorted(folder.rglob("validation_predictions.parquet"))
    if not paths:
        raise FerLabError(
            f"run={folder}: no validation_predictions.parquet below it; train each fold of data.folds first."
        )
    columns = [f"logit_{name}" for name in class_names]
    if odd := [path for path in paths if not set(columns) <= set(pq.read_schema(path).names)]:
        raise FerLabError(
            f"run={folder}: {odd[0].parent} has other classes than {', '.join(class_names)}; move it away."
        )
    for config in (path.parent / "config.yaml" for path in paths):
        kept = OmegaConf.load(config).data.get("group_by", []) if config.is_file() else _TOGETHER
        if apart := set(_TOGETHER) - set(kept):
            raise FerLabError(
                f"run={folder}: {config.parent} divided the faces of one {min(apart)}; train the folds "
                f"with data.group_by=[{','.join(_TOGETHER)}]."
            )
    logits = pd.concat(map(pd.read_parquet, paths)).groupby("sample_id")[columns].mean()
    if absent := len(set(ids) - set(logits.index)):
        raise FerLabError(f"run={folder}: {absent} training faces are in no run's validation split; train every fold.")
    return softmax(logits.loc[ids].to_numpy(np.float64), axis=1), f"{len(paths)} k-fold runs"
