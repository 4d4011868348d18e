"""Configs: the typed root, how a command composes them, and what of a config decides a run's result.

Hydra composes `conf/<command>.yaml`. The root is typed, so a misspelt root key fails with its name; components are
`_target_` nodes, which `check_targets` binds to their signatures before anything is read or built.
"""

import functools
import hashlib
import inspect
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from fer_lab.composing import compose_all, compose_choices, split, with_keys
from fer_lab.errors import FerLabError
from fer_lab.refusals import REFUSED, hydras_errors, in_words, refuse_unknown
from fer_lab.resolvers import register
from fer_lab.root import Config

_HERE = Path(__file__).resolve().parent
#: Absolute path of the configs: inside the wheel, or beside the package in a checkout.
CONF_DIR = _HERE / "conf" if (_HERE / "conf").is_dir() else _HERE.parent / "conf"

#: Keys that cannot change a run's result: where things are, how they are shown, what happens after training.
VOLATILE = (
    "name", "variant", "run", "model", "rerun", "report", "source", "sink", "store", "demo", "lsi", "indicators",
    "sweep_keys", "paths", "table", "logger", "quantization", "target", "export", "benchmark", "live", "privacy",
    "dashboard", "data.path", "data.split_file", "data.exclude", "data.votes", "data.manifest", "data.detector_file",
    "backbone.weights_dir", "cache.max_gb", "cache.stages", "paper", "publish", "verify", "dry", "skip", "patient",
    "suite", "preview", "label_noise", "thumbnails", "plots", "trainer.num_threads", "trainer.num_workers",
    "trainer.progress", "trainer.compile",
)  # fmt: skip

#: Keys that came after the first records were kept, each with the value that leaves everything as it was before: at
#: that value a key is no part of what decides, so that runs made without it stay what their rows ask for.
NEUTRAL: dict[str, Any] = {
    "augment.rare_steps": None,
    "augment.rarity": 0.0,
    "data.copies": "group",
    "data.dedup": "none",
    "data.fold": 0,
    "data.folds": None,
    "data.label_maps": {},
    "data.group_by": ["group", "near", "subject"],  # the data's manifest says how a new split came out
    "illumination": {"_target_": "fer_lab.models.illumination.no_normalisation"},
    "mix": {"_target_": "fer_lab.data.mix.no_mix"},
    "target_precision": 0.8,
}


_PYTHONS_WARNING = warnings.formatwarning
register()
ConfigStore.instance().store(name="schema", node=Config)


def compose(command: str = "train", overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the config that the command line would hand to a command's inner function.

    Args:
        command: the primary config, a file of conf/.
        overrides: as typed, for example `["experiment=demo_focal", "seed=1"]`; no sweeps.

    Raises:
        FerLabError: Hydra refuses the config; its sentence is passed on.
    """
    try:
        if parts := split(overrides):
            choices, keys = parts
            try:
                base, hydra_cfg = compose_choices(command, choices)
                return _own_part(with_keys(base, keys), hydra_cfg, overrides)
            except OmegaConfBaseException:
                pass  # Hydra says what is wrong with a word
        cfg = compose_all(command, overrides)
        return _own_part(cfg, cfg.hydra)
    except REFUSED as error:
        raise FerLabError(f"{' '.join(overrides) or command}: {in_words(error, command)}") from error


def _own_part(cfg: DictConfig, hydra_cfg: Any, typed: Sequence[str] | None = None) -> DictConfig:
    """Resolve name, variant and folders while Hydra's choices are known, then drop the hydra node."""
    refuse_unknown(hydra_cfg.runtime)
    previous = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra_cfg})
    try:
        own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
        OmegaConf.resolve(own)
        choices: dict = OmegaConf.to_container(hydra_cfg.runtime.choices)  # type: ignore[assignment]
    finally:
        HydraConfig.instance().cfg = previous
    with open_dict(own):
        own.choices = {  # neither hydra/launcher nor data@data.sources.folder, a choice inside a choice
            g: c for g, c in choices.items() if g.isidentifier() and c and g not in ("sweep", "schema")
        }
        # as typed, so that a parent row composes with the same ones
        own.overrides = list(hydra_cfg.overrides.task if typed is None else typed)
        _limit_epochs(own)
    return own


def _limit_epochs(cfg: DictConfig) -> None:
    """Put `trainer.limit_epochs` into `trainer.max_epochs`, which then decides alone: rows compose after the trainer,
    so that a smoke run could not shorten them otherwise. What the command line says of max_epochs holds; a first stage
    keeps its share of them."""
    limit = (cfg.trainer or {}).pop("limit_epochs", None)
    typed = any(word.lstrip("+").startswith("trainer.max_epochs=") for word in cfg.overrides)
    if limit is None or typed:
        return
    if not isinstance(limit, int):
        raise FerLabError(f"trainer.limit_epochs={limit} is no number of epochs.")
    if limit >= cfg.trainer.max_epochs:
        return
    if cfg.schedule.get("head_epochs", 0) >= 1:
        cfg.schedule.head_epochs /= cfg.trainer.max_epochs
    cfg.trainer.max_epochs = limit


def command(
    name: str, around: Callable[[Callable[[], None]], None] | None = None
) -> Callable[[Callable[[DictConfig], dict]], Callable[[], Any]]:
    """Make a Hydra main of an inner function `f(cfg) -> dict`.

    The main finds conf/ by absolute path and returns the dict's `objective`, which a sweeper such as Optuna reads.
    A FerLabError is printed as one sentence with exit code 1; in a multirun the other rows go on.

    Args:
        name: of the primary config; around: called with the Hydra main, which it may start more than once.
    """

    def wrap(inner: Callable[[DictConfig], dict]) -> Callable[[], Any]:
        @functools.wraps(inner)
        def job(cfg: DictConfig) -> float | None:
            multirun = HydraConfig.get().mode == RunMode.MULTIRUN
            if not sys.stdout.isatty():
                os.environ.setdefault("COLUMNS", "160")  # of rich's tables, which a pipe would cut at 80
            try:
                return inner(_composed(cfg, name)).get("objective")
            except FerLabError as error:
                print(f"fer-lab {name}: {error}", file=sys.stderr)
            except Exception:
                traceback.print_exc()
            if not multirun:
                sys.exit(1)
            return float("nan")

        def main() -> Any:
            warnings.formatwarning = _in_a_sentence
            sys.argv[1:] = [_at_home(word) for word in sys.argv[1:]]
            swept = [key for key in _swept(sys.argv[1:]) if key not in ("experiment", "seed")]
            if swept:
                sys.argv.append(f"sweep_keys=[{','.join(swept)}]")
            start = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)(job)
            with hydras_errors():
                try:
                    return around(start) if around else start()
                except REFUSED as error:
                    print(f"fer-lab {name}: {in_words(error, name)}", file=sys.stderr)
                    sys.exit(1)

        return main

    return wrap


def _composed(cfg: DictConfig, name: str) -> DictConfig:
    """The part of Hydra's config that a command's inner function gets.

    Raises:
        FerLabError: it does not resolve.
    """
    try:
        return _own_part(cfg, HydraConfig.get())
    except REFUSED as error:
        raise FerLabError(in_words(error, name)) from error


def _at_home(word: str) -> str:
    """`data.path=~/faces` with the home folder's name: no shell expands it there, and Hydra's grammar has no tilde."""
    key, _, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if value.startswith("~/") else word


def _in_a_sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings without the code line that raised them; others as Python shows them."""
    if Path(filename).is_relative_to(Path(__file__).parent):
        return f"Warning: {message}\n"
    return _PYTHONS_WARNING(message, category, filename, lineno, line)


def _swept(arguments: Sequence[str]) -> Iterator[str]:
    """Keys that the command line sweeps over (`-m loss=focal,cross_entropy`)."""
    words = [word for word in arguments if "=" in word and not word.startswith("-")]
    with_parser = OverridesParser.create()
    for word in words:
        try:
            override = with_parser.parse_override(word)
        except HydraException:
            continue  # Hydra itself reports it, with a caret below the offending character
        if override.is_sweep_override():
            yield override.key_or_group


def build(node: Any, *args: Any, **kwargs: Any) -> Any:
    """Hydra's instantiate, but a component's own FerLabError comes through as it is.

    Raises:
        FerLabError: the component refuses its settings.
    """
    try:
        return instantiate(node, *args, **kwargs)
    except InstantiationException as error:
        if isinstance(error.__cause__, FerLabError):
            raise error.__cause__ from None
        raise


def config_hash(cfg: DictConfig) -> str:
    """16 hex digits over the resolved config without what cannot change a result (:data:`VOLATILE`, seed kept)."""
    return hashlib.sha256(json.dumps(deciding_part(cfg), sort_keys=True).encode()).hexdigest()[:16]


def deciding_part(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain data without volatile keys, neutral values, choices and overrides."""
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    for name in ("choices", "overrides"):  # they only say how the rest came about
        plain.pop(name, None)
    for key in (*VOLATILE, *NEUTRAL):
        node = plain
        *parents, last = key.split(".")
        for parent in parents:
            node = node.get(parent) or {}
        if key in VOLATILE or node.get(last) == NEUTRAL[key]:
            node.pop(last, None)
    for source in ((plain.get("data") or {}).get("sources") or {}).values():  # what they hold is in the data's manifest
        for name in ("path", "votes", "manifest", "detector_file", "copies"):  # copies: a part's own is refused
            (source or {}).pop(name, None)
    weights = (plain.get("backbone") or {}).get("weights")
    if weights:  # where the file lies does not matter; its bytes are part of the run's key
        plain["backbone"]["weights"] = Path(weights).name
    return plain


def difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Keys in which two plain configs differ, each as `key: old -> new`."""
    lines = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines


def check_targets(cfg: DictConfig | dict) -> None:
    """Bind every `_target_` of a config to its signature, without calling anything.

    Raises:
        FerLabError: the target cannot be imported, or a key does not fit its signature; the accepted keys are listed.
    """
    plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    _check_node(plain, "")


def _check_node(node: Any, where: str) -> None:
    if isinstance(node, dict):
        if target := node.get("_target_"):
            _bind(target, {key: value for key, value in node.items() if not key.startswith("_")}, where)
        for key, child in node.items():
            _check_node(child, f"{where}.{key}".lstrip("."))


def _bind(target: str, arguments: dict[str, Any], where: str) -> None:
    try:
        found = get_object(target)
    except Exception as error:
        raise FerLabError(f"Config '{where}': cannot import {target} ({error}); correct its _target_.") from error
    signature = inspect.signature(found)
    try:
        signature.bind_partial(**arguments)  # what is missing (class counts, parameters) is known only when it is built
    except TypeError as error:
        known = ", ".join(signature.parameters)
        raise FerLabError(f"Config '{where}': {error}; {target} takes: {known}.") from error
