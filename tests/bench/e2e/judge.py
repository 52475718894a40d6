"""Judges two results of the benchmark by ratio: what the second build does better or worse.

Absolute numbers of two runs say little where the machine's own speed changes. So where a reference
ran beside vmqd in both runs, what is compared is vmqd's ratio to it, round by round; else the
figures themselves. A figure is better or worse when its quartiles leave no doubt (they do not
overlap those of the other run) and the medians are further apart than the margin.
"""

import dataclasses

from tests.bench.e2e import samples

MARGIN = 0.05
REFERENCE = "bridge"
# What is below counts as that: a ratio of two nothings means nothing.
FLOORS = {"loss": 0.001, "idle_cpu_percent": 0.1, "outage_us": 10.0}


@dataclasses.dataclass
class Verdict:
    key: tuple
    metric: str
    judged: str      # "better", "same", "worse"
    ratio: float     # second to first; above 1 is better
    low: float       # the same from quartile to quartile
    high: float
    relative: bool   # to the reference of each run


def key_of(point):
    return (point["scenario"], point["size"], point["ports"], point["flows"], point["queues"],
            point["metric"])


def by_key(result, system):
    return {key_of(point): point for point in result["points"] if point["system"] == system}


def clamped(point):
    floor = FLOORS.get(point["metric"], 1e-12)
    return [max(value, floor) for value in point["samples"]]


def judge_one(first, second, higher_is_better, margin=MARGIN):
    """(judged, ratio, low, high) of two lists of samples."""
    if not higher_is_better:
        first, second = [1 / value for value in first], [1 / value for value in second]
    ratio = samples.median(second) / samples.median(first)
    (first_low, first_high), (low, high) = samples.quartiles(first), samples.quartiles(second)
    low, high = low / first_high, high / first_low
    if ratio > 1 + margin and low > 1:
        return "better", ratio, low, high
    if ratio < 1 - margin and high < 1:
        return "worse", ratio, low, high
    return "same", ratio, low, high


def compare(first, second, margin=MARGIN, system="vmqd"):
    """Verdicts of every figure that both results have of `system`."""
    verdicts = []
    ours = [by_key(result, system) for result in (first, second)]
    references = [by_key(result, REFERENCE) for result in (first, second)]
    for key, point in ours[0].items():
        if key not in ours[1]:
            continue
        values = [clamped(own[key]) for own in ours]
        relative = all(key in reference and len(reference[key]["samples"]) == len(own)
                       and min(reference[key]["samples"]) > 0
                       for reference, own in zip(references, values))
        if relative:
            values = [samples.ratios(own, clamped(reference[key]))
                      for own, reference in zip(values, references)]
        judged = judge_one(*values, point["better"] == "higher", margin)
        verdicts.append(Verdict(key, key[-1], *judged, relative))
    return verdicts


def table(verdicts):
    """Markdown; worse first."""
    order = {"worse": 0, "better": 1, "same": 2}
    lines = ["| judged | scenario | bytes | ports | flows | queues | figure | ratio | spread | |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for verdict in sorted(verdicts, key=lambda item: (order[item.judged], item.ratio)):
        cells = [verdict.judged, *map(str, verdict.key), f"{verdict.ratio:.3f}",
                 f"{verdict.low:.3f}-{verdict.high:.3f}",
                 f"over {REFERENCE}" if verdict.relative else "as measured"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
