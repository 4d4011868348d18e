"""What the live pipeline may be used for, said and asked before it opens anything."""

from fer_lab.errors import FerLabError

PURPOSES = ("research", "safety", "medical", "demonstration")
ACKNOWLEDGED = "acknowledged"
NOTICE = (
    "Legal limit: the EU AI Act, Article 5(1)(f), prohibits inferring emotions of people in education and at work "
    "since 2 February 2025, medical and safety reasons excepted. Nothing you type here makes a prohibited use lawful. "
    "An expression is not a feeling: read the index as an uncertain summary of a group, never of a person."
)


def require_purpose(purpose: str | None, consent: str | None) -> None:
    """Let only a declared purpose with acknowledged consent pass.

    Raises:
        FerLabError: `purpose` is none of PURPOSES, or `consent` is not "acknowledged".
    """
    if purpose not in PURPOSES:
        raise FerLabError(
            f"live.purpose={purpose} is no purpose this may start for: say live.purpose=<{' | '.join(PURPOSES)}>; "
            "the EU AI Act, Article 5(1)(f), prohibits emotion inference in education and at work otherwise."
        )
    if consent != ACKNOWLEDGED:
        raise FerLabError(
            f"live.consent={consent}: say live.consent={ACKNOWLEDGED} once everyone in view, or whoever may decide for "
            "them, has been told what is measured and has agreed to it."
        )
