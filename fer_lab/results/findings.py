"""What an audit of a paper finds: a printed number, what others imply for it, and the rule between them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fer_lab.results.intervals import Interval
from fer_lab.results.published import Published

AGREES, CONTRADICTS, UNCHECKED = "agrees", "contradicts", "cannot be checked"
VERDICTS = (CONTRADICTS, UNCHECKED, AGREES)


@dataclass(frozen=True)
class Finding:
    """One comparison of a printed number with what follows from others.

    `where` names the place, `printed` what stands there, `implied` what it should be, both as text; `low` and `high`
    bound the implied number (None where it is not a number); `sentence` says it in plain words.
    """

    rule: str
    where: str
    printed: str
    implied: str
    verdict: str
    sentence: str
    low: float | None = None
    high: float | None = None


#: A rule reads the printed numbers and yields findings; its docstring's first line says what it checks.
Rule = Callable[[Published], Iterator[Finding]]


def finding(
    rule: str,
    where: str,
    printed: str,
    implied: Interval,
    holds: bool,
    sentence: str,
    *,
    digits: int = 3,
    prefix: str = "",
    suffix: str = "",
) -> Finding:
    """A finding about a number: `holds` decides between agrees and contradicts."""
    verdict = AGREES if holds else CONTRADICTS
    text = f"{prefix}{implied.text(digits)}{suffix}"
    return Finding(rule, where, printed, text, verdict, sentence, implied.low, implied.high)


def merged(rule: str, where: str, found: list[Finding], what: str) -> Iterator[Finding]:
    """Contradictions one by one, and one finding for all that agree, so that the exceptions stand out."""
    yield from (one for one in found if one.verdict != AGREES)
    good = [one for one in found if one.verdict == AGREES]
    if good:
        places = ", ".join(one.where.removeprefix(f"{where}, ") for one in good)
        shown = good[0].implied if len(good) == 1 else f"{len(good)} of {len(found)} agree"
        printed = ", ".join(one.printed for one in good)
        low, high = (good[0].low, good[0].high) if len(good) == 1 else (None, None)
        sentence = f"{what} fits for {places}." if len(good) > 1 else good[0].sentence
        yield Finding(rule, where, printed, shown, AGREES, sentence, low, high)
