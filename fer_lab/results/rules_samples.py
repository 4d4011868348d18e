"""Rules about samples and classes: how many there are, in all places that name a number, and in the data set itself."""

from collections.abc import Iterator

from fer_lab.labels import EMOTIONS
from fer_lab.results.findings import AGREES, UNCHECKED, Finding, finding
from fer_lab.results.intervals import Interval
from fer_lab.results.published import Published
from fer_lab.results.rules_tables import supports

#: Images of each class in official splits, by data set. FER2013 (Goodfellow et al. 2013): Training, PublicTest,
#: PrivateTest of its csv; Kaggle's folder release puts the last two together as `test`.
OFFICIAL_SPLITS = {
    "fer2013": {
        "train": dict(zip(EMOTIONS, (3995, 436, 4097, 7215, 4830, 3171, 4965), strict=True)),
        "validation": dict(zip(EMOTIONS, (467, 56, 496, 895, 653, 415, 607), strict=True)),
        "test": dict(zip(EMOTIONS, (491, 55, 528, 879, 594, 416, 626), strict=True)),
    }
}


def sample_counts(paper: Published) -> Iterator[Finding]:
    """Numbers of test samples named in different places are equal."""
    for name, table in paper.holding("classes").items():
        total = sum(supports(table).values())
        for place in paper.samples:
            if place.split == "test" and total:
                sentence = f"The {place.where} names {place.count:,} test samples, {name} adds up to {total:,}."
                implied = Interval(total, total)
                holds = total == place.count
                yield finding("sample_counts", place.where, f"{place.count:,}", implied, holds, sentence, digits=0)


def official_split(paper: Published) -> Iterator[Finding]:
    """A test split of a public data set with an official split has its size."""
    if (known := OFFICIAL_SPLITS.get(paper.dataset or "")) is None:
        return
    sizes = {split: sum(counts.values()) for split, counts in known.items()}
    size, whole = sizes["test"], sum(sizes.values())
    named = {place.where: place.count for place in paper.samples if place.split == "test"}
    named |= {name: sum(supports(table).values()) for name, table in paper.holding("classes").items()}
    for where, count in named.items():
        verdict = AGREES if count == size else UNCHECKED
        sentence = f"The official test split of {paper.dataset} has {size:,} of {whole:,} samples."
        if count != size:
            sentence += f" {count:,} ({100 * count / whole:.1f} %) are another split, whose samples are not named."
        yield Finding("official_split", where, f"{count:,}", f"{size:,}", verdict, sentence, size, size)


def official_class_counts(paper: Published) -> Iterator[Finding]:
    """Supports are those of one official split for all classes, or for none."""
    if (known := OFFICIAL_SPLITS.get(paper.dataset or "")) is None:
        return
    held_out = {name: known["validation"][name] + known["test"][name] for name in known["test"]}
    for where, table in paper.holding("classes").items():
        counts = supports(table)
        for split, official in {**known, "validation and test together": held_out}.items():
            same = [name for name, count in counts.items() if official.get(name) == count]
            if not same:
                continue
            listed = ", ".join(f"{name} {counts[name]}" for name in same)
            sentence = f"{len(same)} of {len(counts)} supports are those of {paper.dataset}'s {split}: {listed}."
            if len(same) < len(counts):
                sentence += " The other classes have other counts, so classes were not drawn alike."
            verdict = AGREES if len(same) == len(counts) else UNCHECKED
            yield Finding("official_class_counts", where, listed, f"{split}, all classes", verdict, sentence)


def announced_classes(paper: Published) -> Iterator[Finding]:
    """As many classes are reported as are announced."""
    if paper.classes is None:
        return
    announced = paper.classes.announced
    reported = {name: tuple(sorted(table.rows)) for name, table in paper.holding("classes").items()}
    reported |= {confusion.where: tuple(sorted(confusion.diagonal)) for confusion in paper.confusions}
    for names in dict.fromkeys(reported.values()):
        where = ", ".join(place for place, own in reported.items() if own == names)
        sentence = (
            f"{announced} classes are announced ({paper.classes.where}), {len(names)} reported: {', '.join(names)}."
        )
        implied, holds = Interval(announced, announced), len(names) == announced
        printed = f"{len(names)} classes"
        yield finding("announced_classes", where, printed, implied, holds, sentence, digits=0, suffix=" classes")


def split_sizes(paper: Published) -> Iterator[Finding]:
    """Shares of the splits add up to the whole, and the test split has its share of all samples."""
    if paper.split is None:
        return
    rule, shares = "split_sizes", (paper.split.train, paper.split.validation, paper.split.test)
    total = Interval.sum([Interval.printed(share) for share in shares])
    printed = "/".join(shares)
    sentence = f"{' + '.join(shares)} per cent add up to {total.text(0)}."
    holds = total.meets(Interval(100, 100))
    yield finding(rule, paper.split.where, printed, total, holds, sentence, digits=0, suffix=" %")
    counts = {place.split: place.count for place in paper.samples}
    if {"all", "test"} <= set(counts):
        share = 100 * counts["test"] / counts["all"]
        sentence = f"{counts['test']:,} of {counts['all']:,} samples are {share:.1f} %."
        implied, holds = Interval(share, share), abs(share - float(paper.split.test)) < 1
        yield finding(rule, paper.split.where, f"{paper.split.test} %", implied, holds, sentence, suffix=" %", digits=1)
    else:
        sentence = "The number of samples is not printed, so the sizes of the splits cannot be recomputed."
        yield Finding(rule, paper.split.where, printed, "no number of samples", UNCHECKED, sentence)


RULES = (sample_counts, official_split, official_class_counts, announced_classes, split_sizes)
