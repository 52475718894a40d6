"""The result as SVG files: a file a scenario and figure, with a mark for every quartile."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402  behind the choice of what draws

COLOURS = {"vmqd": "#2b6cb0", "bridge": "#718096", "bridge-thread": "#a0aec0", "ovs": "#dd6b20"}
CURVES = {"ports": "ports", "flows": "flows", "queues": "queues"}  # scenario -> its axis
DRAWN = ("pps", "cpu_us_per_frame", "zero_loss_pps")


def write(whole, folder):
    """Names of the files written."""
    matplotlib.rcParams["svg.hashsalt"] = "vmqd"  # the same numbers make the same file
    names, points = [], whole["points"]
    for scenario in dict.fromkeys(point["scenario"] for point in points):
        own = [point for point in points if point["scenario"] == scenario]
        for metric in DRAWN:
            drawn = [point for point in own if point["metric"] == metric]
            if drawn:
                names.append(figure(folder, f"{scenario}-{metric.replace('_', '-')}", drawn,
                                    curve if scenario in CURVES else bars))
        times = [point for point in own if point["metric"].startswith("rtt_")]
        if times:
            names.append(figure(folder, f"{scenario}-rtt", times, round_trips))
    return names


def figure(folder, name, drawn, draw):
    made, axes = pyplot.subplots(figsize=(7, 4))
    draw(axes, drawn)
    axes.set_title(name)
    axes.legend()
    axes.grid(axis="y", alpha=0.4)
    made.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(made)
    return f"{name}.svg"


def errors(points):
    """Distances from the median to the quartiles, as matplotlib wants them."""
    return [[point["median"] - point["quartiles"][0] for point in points],
            [point["quartiles"][1] - point["median"] for point in points]]


def by_system(points):
    return {name: [point for point in points if point["system"] == name]
            for name in dict.fromkeys(point["system"] for point in points)}


def bars(axes, drawn):
    sizes = list(dict.fromkeys(point["size"] for point in drawn))
    systems = by_system(drawn)
    for place, (name, own) in enumerate(systems.items()):
        axes.bar([sizes.index(point["size"]) + (place - (len(systems) - 1) / 2) / (len(systems) + 1)
                  for point in own], [point["median"] for point in own],
                 1 / (len(systems) + 1), yerr=errors(own), capsize=3, label=name,
                 color=COLOURS.get(name))
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_xlabel("bytes")
    axes.set_ylabel(drawn[0]["unit"])


def curve(axes, drawn):
    axis = CURVES[drawn[0]["scenario"]]
    for name, own in by_system(drawn).items():
        axes.errorbar([point[axis] for point in own], [point["median"] for point in own],
                      yerr=errors(own), capsize=3, marker="o", label=name, color=COLOURS.get(name))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(axis)
    axes.set_ylabel(drawn[0]["unit"])


def round_trips(axes, drawn):
    """One line a system and percentile, over the load."""
    for name, own in by_system(drawn).items():
        for style, metric in (("-", "rtt_p50_us"), ("--", "rtt_p99_us")):
            line = [point for point in own if point["metric"].startswith(metric)]
            axes.errorbar([int(point["metric"].partition("@")[2]) for point in line],
                          [point["median"] for point in line], yerr=errors(line), capsize=3,
                          marker="o", linestyle=style, color=COLOURS.get(name),
                          label=f"{name} {metric[4:-3]}")
    axes.set_yscale("log")
    axes.set_xlabel("load, % of the rate without loss")
    axes.set_ylabel("us")
