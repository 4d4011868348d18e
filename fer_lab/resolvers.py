"""What a config may compute: `${choice:...}`, `${variant:...}`, `${path:...}`, `${csv:...}`, `${scaled:...}`,
`${rare_steps:...}`, `${option_groups:}`."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf, read_write

from fer_lab.cli.completion import option_groups
from fer_lab.errors import FerLabError


def choice(group: str, *, _root_: DictConfig) -> str:
    """`${choice:experiment}`: the file chosen for a config group, or `default` where none is."""
    hydra_cfg = HydraConfig.get() if HydraConfig.initialized() else _root_.hydra  # of a multirun as a whole
    return str(hydra_cfg.runtime.choices.get(group) or "default")


def variant(sweep_keys: Sequence[str], *, _root_: DictConfig) -> str:
    """`${variant:${sweep_keys}}`: swept keys other than experiment and seed, as a folder."""
    hydra_cfg = HydraConfig.get()
    keys = [*sweep_keys, *((hydra_cfg.sweeper.get("params") or {}) if "sweeper" in hydra_cfg else {})]
    parts = []
    for key in sorted({key.lstrip("+~") for key in keys} - {"experiment", "seed"}):
        value = hydra_cfg.runtime.choices.get(key, OmegaConf.select(_root_, key))
        parts.append(f"{key}={value}".replace("/", "_"))
    return ",".join(parts)


def scaled(value: float | Sequence[float], strength: float, around: float = 0.0) -> float | ListConfig:
    """`${scaled:[-12,12],${augment.strength}}`: a range widened or narrowed about the value that changes nothing.

    Args:
        value: one limit or several; strength: in (0, 2]; 1 leaves every limit as it is written, to the last bit.
        around: what changes nothing. Limits keep their difference to 0, times `strength`, and their ratio to any other
            value, to the power of `strength`: a zoom of [0.5, 2] at strength 2 becomes [0.25, 4].

    Raises:
        FerLabError: `strength` is outside its range.
    """
    if not 0 < strength <= 2:
        raise FerLabError(f"augment.strength={strength} must lie in (0, 2]; for no augmentation say augment=none.")
    if isinstance(value, Sequence):
        return ListConfig([scaled(limit, strength, around) for limit in value])
    if strength == 1:
        return value
    return around * (value / around) ** strength if around else value * strength


def rare_steps(rarity: float, *, _root_: DictConfig) -> DictConfig | None:
    """`${rare_steps:${augment.rarity}}`: `augment.steps` at twice their strength, at most 2; null where rarity is 0.

    It must stand above `steps` in its file, which are resolved in place, in order.

    Raises:
        FerLabError: the strength is 2 already.
    """
    if not rarity:
        return None
    root = OmegaConf.masked_copy(_root_, [key for key in _root_ if key != "hydra"])
    if root.augment.strength >= 2:
        raise FerLabError("augment.rarity has nothing to add to augment.strength=2; set one of them lower.")
    with read_write(root):
        root.augment.strength = min(2 * root.augment.strength, 2.0)
    return OmegaConf.create(OmegaConf.to_container(root.augment.steps, resolve=True))


def register() -> None:
    """Make them known to OmegaConf, in every process that reads a config."""
    OmegaConf.register_new_resolver("choice", choice, replace=True)
    OmegaConf.register_new_resolver("variant", variant, replace=True)
    OmegaConf.register_new_resolver("path", lambda *parts: str(Path(*map(str, parts))), replace=True)
    OmegaConf.register_new_resolver("csv", lambda values: ",".join(str(value) for value in values), replace=True)
    OmegaConf.register_new_resolver("scaled", scaled, replace=True)
    OmegaConf.register_new_resolver("rare_steps", rare_steps, replace=True)
    OmegaConf.register_new_resolver("option_groups", option_groups, replace=True)
    # conf/hydra holds our own joblib, ray, ... in full: that Hydra checks them against the plugins' keys too is welcome
    warnings.filterwarnings("ignore", "(?s).*is validated against ConfigStore schema with the same name")
