"""The result as JSON and as a Markdown table. The schema is in tests/bench/README.md."""

import os
import pathlib
import platform
import time

from tests.bench.e2e import samples

SCHEMA = 1
REFERENCE = "bridge"
PLACE = ("scenario", "size", "ports", "flows", "queues", "metric")


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def result(found, failures, meter, options):
    """What goes to the file; `options` are the command line's."""
    return {
        "schema": SCHEMA,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "model": cpu_model(),
                    "load_average": os.getloadavg()[0]},
        "options": {name: value if isinstance(value, (int, float, bool, list)) else str(value)
                    for name, value in sorted(vars(options).items())},
        "windows": {"measured": meter.windows, "disturbed": meter.disturbed},
        "points": [point.as_json() for point in found],
        "failures": failures,
    }


def number(value):
    """Three or four digits that say something."""
    if value >= 100000:
        return f"{value / 1e6:.3f} M"
    return f"{value:.4g}"


def cell(point):
    low, high = point["quartiles"]
    spread = f" ({number(low)} to {number(high)})" if len(point["samples"]) > 1 else ""
    return number(point["median"]) + spread


def ratio(own, reference):
    """Median of the ratios within a round, or nothing where a ratio means nothing."""
    if not own or not reference or len(own["samples"]) != len(reference["samples"]):
        return ""
    each = samples.ratios(own["samples"], reference["samples"])
    if len(each) != len(own["samples"]):
        return ""
    low, high = samples.quartiles(each)
    return f"{samples.median(each):.2f} ({low:.2f} to {high:.2f})"


def markdown(whole):
    """A row a figure, a column a system, and vmqd over the bridge."""
    rows = {}
    for point in whole["points"]:
        rows.setdefault(tuple(point[name] for name in PLACE), {})[point["system"]] = point
    systems = list(dict.fromkeys(point["system"] for point in whole["points"]))
    machine, windows = whole["machine"], whole["windows"]
    lines = [f"{whole['when']}, Linux {machine['kernel']}, {machine['cpus']} CPUs "
             f"({machine['model']}), {windows['disturbed']} of {windows['measured']} windows stayed "
             "disturbed. Medians and quartiles.", "",
             "| " + " | ".join([*PLACE[:-1], "figure", *systems, f"vmqd / {REFERENCE}"]) + " |",
             "|" + "---|" * (len(PLACE) + len(systems) + 1)]
    for place, by_system in rows.items():
        unit = next(iter(by_system.values()))["unit"]
        cells = [*map(str, place[:-1]), f"{place[-1]}, {unit}",
                 *(cell(by_system[name]) if name in by_system else "" for name in systems),
                 ratio(by_system.get("vmqd"), by_system.get(REFERENCE))]
        lines.append("| " + " | ".join(cells) + " |")
    if whole["failures"]:
        lines += ["", "Not measured:", "", *(f"- {failure}" for failure in whole["failures"])]
    return "\n".join(lines) + "\n"
