"""Which file `backbone.weights` means: one answer for the network that loads it and the run whose key it decides."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from fer_lab.errors import FerLabError


def weights_file(timm_name: str, weights: str, weights_dir: str | None) -> Path | None:
    """The file that a backbone's weights come from.

    Args:
        timm_name: of the network; weights: `none`, `hub`, `pretrained` or the path of a file.
        weights_dir: folder of the `pretrained` files, `<timm name>.<what>.safetensors`; where a file's metadata has an
            entry `timm`, that is its network, whatever its name.

    Returns:
        None for `none` and `hub`, and for `pretrained` where the folder is null or holds no file for this network:
        these come from timm's hub.

    Raises:
        FerLabError: weights is no text; the folder does not exist, or several of its files are for this network.
    """
    if not isinstance(weights, str):
        raise FerLabError(f"backbone.weights={weights} is no choice; give none, pretrained, hub or a file.")
    if weights in ("none", "hub"):
        return None
    if weights != "pretrained":
        return Path(weights).expanduser()
    if not weights_dir:
        return None
    folder = Path(weights_dir).expanduser()
    if not folder.is_dir():
        raise FerLabError(f"paths.weights={weights_dir} is no folder; correct it, or set it to null for timm's hub.")
    found = sorted(path for path in folder.glob("*.safetensors") if _made_for(path) == timm_name)
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise FerLabError(f"{folder} holds several weights for {timm_name} ({names}); name one with backbone.weights=.")
    return found[0] if found else None


def _made_for(path: Path) -> str:
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):  # damaged, or a link to nowhere: whoever loads it says so
        metadata = {}
    return metadata.get("timm") or path.name.split(".")[0]
