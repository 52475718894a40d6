"""Dynamic placement against every static one, and what measuring and balancing cost.

Two queues on two CPUs, three VMs that send to the wire by a trace (traces.py). Each frame that a VM hands
over is a TCP frame of many segments, which its worker cuts: that keeps the worker busy and costs the
sender little, so generators do not take the CPUs that placement is about. What is compared are
frames on the wire, as a share of what the trace demands.
"""

import time

from tests.bench.e2e import points, samples, traces
from tests.bench.e2e.measure import drained, totals
from tests.bench.e2e.world import WIRE, Setup
from tests.bench.processes import Broken, cpu_seconds

SEGMENTS = 40
FIRST_RATE = 500        # large frames a second, to learn what a CPU can do
AIM = 0.6               # of a CPU, while that is learnt
OVERLOAD = 3            # times what a CPU can do
SETUP = Setup(("tap",) * traces.VMS, queues=2, processors="0,1")


def stream(world, vm, rate):
    world.ends.ask("stream", vm, vm, WIRE, int(rate), SEGMENTS)


def silence(world):
    for vm in range(1, traces.VMS + 1):
        stream(world, vm, 0)


def place(world, placement):
    """VM i + 1 on queue placement[i], queue q on CPU q, and nothing moves."""
    cli = world.lab.cli
    cli("uplink", "set", "nic0", "--balance", "static")
    for queue in range(SETUP.queues):
        cli("queue", "set", f"uplinks/nic0/queues/{queue}", "--cpu", queue)
    for vm, queue in enumerate(placement, 1):
        cli("port", "set", f"vm{vm}", "--queue", queue)


def let_go(world):
    """From here vmqd decides."""
    cli = world.lab.cli
    for queue in range(SETUP.queues):
        cli("queue", "set", f"uplinks/nic0/queues/{queue}", "--cpu", "auto")
    for vm in range(1, traces.VMS + 1):
        cli("port", "set", f"vm{vm}", "--queue", "auto")
    cli("uplink", "set", "nic0", "--balance", "dynamic")


def capacity(world):
    """Large frames a second that take one CPU."""
    place(world, (1,) * traces.VMS)
    rate, pids = FIRST_RATE, world.system.pids()
    for _ in range(3):
        stream(world, 1, rate)
        time.sleep(0.3)
        used, start = cpu_seconds(pids), time.monotonic()
        time.sleep(1)
        share = (cpu_seconds(pids) - used) / (time.monotonic() - start)
        if share <= 0:
            raise Broken("placement: a VM that sends costs no CPU time")
        whole, rate = rate / share, rate / share * AIM
    silence(world)
    drained(world)
    return whole


def replay(world, trace, whole):
    """Frames on the wire, as a share of what the trace demands: (all of it, its second half)."""
    received, demanded = [totals(world.counts())[1]], [0.0]
    start = time.monotonic()
    for second, needs in enumerate(trace):
        for vm, share in enumerate(needs, 1):
            stream(world, vm, share * whole)
        demanded.append(demanded[-1] + sum(int(share * whole) for share in needs) * SEGMENTS)
        time.sleep(max(0, start + second + 1 - time.monotonic()))
        received.append(totals(world.counts())[1])
    silence(world)
    received[-1] = drained(world)[1]
    half = len(trace) // 2
    return ((received[-1] - received[0]) / demanded[-1],
            (received[-1] - received[half]) / (demanded[-1] - demanded[half]))


def placement(bench):
    found = []
    for name in bench.traces:
        trace = traces.TRACES[name](bench.trace_seconds)
        dynamic, best, late = [], [], []
        for number in range(bench.placement_rounds):
            with bench.worlds(SETUP, ("vmqd",)) as worlds:
                for world in worlds:
                    with world.running():
                        shares = compete(bench, world, name, trace)
                    dynamic.append(shares.pop("dynamic"))
                    best.append(max(shares.values()))
                    late.append(dynamic[-1][1] / max(half for _, half in shares.values()))
        if not dynamic:
            continue
        place_of = {"size": "TCP", "ports": traces.VMS, "flows": traces.VMS, "queues": SETUP.queues}
        scenario = f"placement-{name}"
        found += [
            points.Point(scenario, "vmqd", "delivered_share", [whole for whole, _ in dynamic],
                         **place_of, note="dynamic, from all VMs on one queue"),
            points.Point(scenario, "vmqd", "over_best_static",
                         [whole / other for (whole, _), (other, _) in zip(dynamic, best)],
                         **place_of, note="the second half alone: "
                         + ", ".join(f"{value:.3f}" for value in late))]
    return found + cost(bench)


def compete(bench, world, name, trace):
    """{placement: (share, share in the second half)}; dynamic first, while its history is empty."""
    whole, shares = capacity(world), {}
    place(world, (0,) * traces.VMS)
    let_go(world)
    shares["dynamic"] = replay(world, trace, whole)
    for static in traces.placements():
        place(world, static)
        shares["".join(map(str, static))] = replay(world, trace, whole)
    bench.tell(f"placement, {name}: a CPU does {whole * SEGMENTS / 1e6:.3f} Mpps; delivered: "
               + ", ".join(f"{key} {value:.3f}" for key, (value, _) in shares.items()))
    return shares


def cost(bench):
    """One busy VM, all pinned: dynamic against static, by turns. Nothing can be moved."""
    ratios = []
    with bench.worlds(SETUP, ("vmqd",)) as worlds:
        for world in worlds:
            with world.running():
                whole = capacity(world)
                stream(world, 1, OVERLOAD * whole)
                for number in range(bench.rounds):
                    order = ("static", "dynamic") if number % 2 else ("dynamic", "static")
                    rate = {mode: rate_under(world, mode, bench.cost_seconds) for mode in order}
                    ratios.append(rate["dynamic"] / rate["static"])
                silence(world)
    if not ratios:
        return []
    bench.tell(f"placement: balancing: {samples.median(ratios):.4f} of the throughput without")
    return [points.Point("placement-cost", "vmqd", "balancing_ratio", ratios, size="TCP", flows=1,
                         ports=traces.VMS, queues=SETUP.queues,
                         note="throughput, balance dynamic over static, nothing to move")]


def rate_under(world, mode, seconds):
    """Frames a second on the wire."""
    world.lab.cli("uplink", "set", "nic0", "--balance", mode)
    time.sleep(0.3)
    before, start = totals(world.counts())[1], time.monotonic()
    time.sleep(seconds)
    return (totals(world.counts())[1] - before) / (time.monotonic() - start)
