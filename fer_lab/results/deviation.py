"""Whether a row repeats what the paper did, by the published entry's backbone and pretraining."""

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
    ours = {"backbone": run.record["model"]["backbone"], "pretraining": _kind(run)}
    theirs = {"backbone": printed.backbone, "pretraining": printed.pretraining}
    parts = []
    for key, wanted in theirs.items():
        if wanted is not None and ours[key] != wanted:
            assumed = " (assumed)" if key in printed.assumed else ""
            parts.append(f"{key} {run.pretraining if key == 'pretraining' else ours[key]} instead of {wanted}{assumed}")
    return ", ".join(parts)


def _kind(run: Run) -> str:
    """`imagenet` for a file named so and for timm's hub, otherwise the pretraining's own word."""
    word = run.pretraining
    return "imagenet" if word.startswith(("imagenet", "hub:")) else word
