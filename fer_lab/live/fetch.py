"""YuNet from a file, or fetched once by its hash; nothing is downloaded unless `live.detector_file=fetch` says so."""

from pathlib import Path

from fer_lab.errors import FerLabError

FETCH = "fetch"


def detector_path(said: str | None, url: str, sha256: str) -> Path | None:
    """The detector's file: as said, or from pooch's folder of this account, where `url` is kept once it was fetched.

    Raises:
        FerLabError: it cannot be fetched, or what comes is not the file with this hash.
    """
    if said != FETCH:
        return Path(said) if said else None
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise FerLabError("live.detector_file=fetch needs pooch: pip install fer_lab[live], or give a file.") from error
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", path=pooch.os_cache("fer_lab")))
    except (OSError, ValueError) as error:  # no network, or another hash
        reason = " ".join(str(error).split())[:200]
        raise FerLabError(
            f"live.detector_file=fetch: {url} does not give the file with sha256 {sha256[:8]}... ({reason}); give a "
            "YuNet .onnx file, or null for OpenCV's Haar cascade."
        ) from error
