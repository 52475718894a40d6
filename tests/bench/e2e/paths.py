"""Scenarios that are a way through the switch: wire -> VM, VM -> wire, VM -> VM, for each kind of port.

At every size: frames a second at full rate, loss, CPU a frame. With `deep`, at the first size, also the
rate without loss, by search, and round trips of probes at 10, 50 and 90 % of it.
"""

from tests.bench.e2e import points, samples
from tests.bench.e2e.measure import paced
from tests.bench.e2e.search import RateSearch
from tests.bench.e2e.world import WIRE, Load, Setup

KINDS = ("veth", "tap", "vhost")
JUMBO = 9000
PATHS = {f"{a}-{b}": (a, b) for kind in KINDS
         for a, b in (("wire", kind), (kind, "wire"), (kind, kind))}
LOADS = (10, 50, 90)      # percent of the rate without loss
PROBES = 20000            # round trips a second, at the most
NARROW = 1.25             # rounds behind the first begin so far above its result
PERCENTILES = (("rtt_p50_us", 0.5), ("rtt_p99_us", 0.99), ("rtt_p999_us", 0.999))


def ends(path):
    """(kinds of VMs 1, 2, ...; address of the sender; address of the receiver)."""
    source, target = PATHS[path]
    kinds = tuple(kind for kind in (source, target) if kind != "wire")
    return kinds, WIRE if source == "wire" else 1, WIRE if target == "wire" else len(kinds)


def run(path, bench):
    """Points of one path at all sizes; sizes beyond 1514 bytes get worlds of their own."""
    found = []
    kinds, source, target = ends(path)
    groups = {1500: [], JUMBO: []}
    for size in bench.sizes:
        groups[1500 if size <= 1514 else JUMBO].append(size)
    for mtu, sizes in groups.items():
        if not sizes:
            continue
        with bench.worlds(Setup(kinds, mtu=mtu)) as worlds:
            for place, size in enumerate(sizes):
                load = Load(source, target, size=size, flows=bench.flows)
                got = bench.meter.rounds(worlds, load, bench.rounds)
                for world, windows in got.items():
                    found += points.of_windows(path, world, load, windows)
                bench.say(path, points.size_name(size), got)
                if bench.deep(path) and mtu == 1500 and place == 0:
                    found += deepen(path, load, got, bench)
    return found


def search(bench, worlds, load, highest):
    """{world: rate without loss}: one search each, trial by trial in turns."""
    searches = {world: RateSearch(highest[world], goal=bench.goal) for world in worlds}
    while pending := [world for world in worlds if searches[world].next_rate()]:
        for world in pending:
            window = bench.meter.best(world, paced(load, searches[world].next_rate()))
            searches[world].record(window.offered_pps, window.loss)
    return {world: search.result for world, search in searches.items()}


def deepen(path, load, flooded, bench):
    worlds, found = list(flooded), []
    highest = {world: 1.1 * samples.median([window.pps for window in windows])
               for world, windows in flooded.items()}
    held = {world: [] for world in worlds}
    for _ in range(bench.rounds):
        for world, rate in search(bench, worlds, load, highest).items():
            held[world].append(rate)
            highest[world] = max(2000.0, NARROW * samples.median(held[world]))
    for world in worlds:
        found.append(points.Point(path, world.name, "zero_loss_pps", held[world],
                                  size=points.size_name(load.size), flows=load.flows,
                                  note=f"loss goal {bench.goal:g}"))
    bench.tell(f"{path}: without loss: " + ", ".join(
        f"{world.name} {samples.median(rates) / 1e6:.3f}" for world, rates in held.items()) + " Mpps")
    for percent in LOADS:
        found += round_trips(path, load, {world: percent / 100 * samples.median(rates)
                                          for world, rates in held.items()}, percent, bench)
    return found


def round_trips(path, load, rates, percent, bench):
    """Each system at its own rate; every so many frames is a probe that comes back."""
    seen = {world: [] for world, rate in rates.items() if rate > 0}
    for _ in range(bench.rounds):
        for world in seen:
            each = max(1, -(-int(rates[world]) // PROBES))
            window = bench.meter.best(world, paced(load, rates[world], probe_each=each))
            if window.round_trips:
                seen[world].append(window.round_trips)
    found = []
    for world, histograms in seen.items():
        if not histograms:
            bench.tell(f"{path}: {world.name}: no probe came back at {percent} %")
            continue
        for metric, share in PERCENTILES:
            values = [samples.percentile_ns(histogram, share) / 1e3 for histogram in histograms]
            found.append(points.Point(path, world.name, f"{metric}@{percent}", values,
                                      size=points.size_name(load.size), flows=load.flows,
                                      note=f"at {rates[world]:.0f} frames/s, {percent} % of its "
                                           "rate without loss"))
    bench.tell(f"{path}: round trip p50 at {percent} %: " + ", ".join(
        f"{point.system} {samples.median(point.samples):.1f}" for point in found
        if point.metric.startswith("rtt_p50")) + " us")
    return found
