"""Whether a row repeats what the paper did, by the published entry's backbone, pretraining, data and input size."""

from fer_lab.results.rows import Results, Row, Run

#: The words of a row that stands beside a published number without being the published recipe.
NOT_A_REPRODUCTION = "not a reproduction"


def deviation(results: Results, row: Row) -> str:
    """`backbone tiny instead of mobilenetv2_100, pretraining none instead of imagenet`; empty for a reproduction, for a
    row without published values and for one without results."""
    printed = results.published.get(row.name)
    if printed is None or not row.completed:
        return ""
    run = row.completed[0]
    data, model = run.record.get("data", {}), run.record["model"]
    ours = {
        "backbone": model["backbone"],
        "pretraining": _kind(run),
        "data": data.get("name"),
        "input size": model.get("input_size"),
    }
    theirs = {
        "backbone": printed.backbone,
        "pretraining": printed.pretraining,
        "data": printed.dataset,
        "input size": printed.input_size,
    }
    parts = []
    for key, wanted in theirs.items():
        if wanted is not None and ours[key] != wanted:
            assumed = " (assumed)" if key in printed.assumed else ""
            parts.append(f"{key} {run.pretraining if key == 'pretraining' else ours[key]} instead of {wanted}{assumed}")
    if left := data.get("split", {}).get("left_out", {}).get("take"):
        parts.append(f"{left} training faces left out")
    return ", ".join(parts)


def _kind(run: Run) -> str:
    """`imagenet` for a file named so and for timm's hub, otherwise the pretraining's own word."""
    word = run.pretraining
    return "imagenet" if word.startswith(("imagenet", "hub:")) else word
