"""Dynamic placement against every static one, and what measuring and balancing cost.

Two queues on two CPUs, three VMs that send to the wire by a trace (traces.py). Each frame that a VM hands
over is a TCP frame of many segments, which its worker cuts: that keeps the worker busy and costs the
sender little, so generators do not take the CPUs that placement is about. What is compared are
frames on the wire, as a share of what the trace demands.
"""

import contextlib
import dataclasses
import time

from tests.bench.e2e import points, samples, traces
from tests.bench.e2e.measure import drained, rates, totals
from tests.bench.e2e.world import WIRE, Setup
from tests.bench.processes import Broken

SEGMENTS = 40
FIRST_RATE, LAST_RATE = 2000, 200000  # large frames a second, to learn what a CPU can do
ENOUGH = 0.9            # share delivered below which it was too much
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
    """Large frames a second that one CPU manages: more are offered until no more arrive. What its
    worker uses says nothing: it spins a while before it sleeps."""
    place(world, (1,) * traces.VMS)
    most, rate = 0.0, FIRST_RATE
    while rate < LAST_RATE:
        stream(world, 1, rate)
        time.sleep(0.2)
        arrived = pps_over(world, 0.5)
        most = max(most, arrived)
        if arrived < ENOUGH * rate * SEGMENTS:
            break
        rate *= 1.5
    silence(world)
    drained(world)
    if not most:
        raise Broken("placement: nothing arrives on the wire")
    return most / SEGMENTS


@dataclasses.dataclass
class Replay:
    """Frames on the wire, as shares of what the trace demands."""
    share: float
    late: float         # of its second half alone
    disturbance: float  # share of a CPU that others had
    moves: int = 0


def replay(bench, world, trace, whole):
    bystanders = bench.meter.bystanders(world)
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
    return Replay((received[-1] - received[0]) / demanded[-1],
                  (received[-1] - received[half]) / (demanded[-1] - demanded[half]),
                  bystanders.share())


@contextlib.contextmanager
def one_world(bench):
    """vmqd's, running."""
    with bench.worlds(SETUP, ("vmqd",)) as worlds:
        if not worlds:
            raise Broken("placement: vmqd did not start")
        with worlds[0].running():
            yield worlds[0]


def placement(bench):
    found = []
    for name in bench.traces:
        trace = traces.TRACES[name](bench.trace_seconds)
        shares, ratios, late = [], [], []
        for _ in range(bench.placement_rounds):
            dynamic, static = compete(bench, name, trace)
            shares.append(dynamic.share)
            ratios.append(dynamic.share / max(one.share for one in static))
            late.append(dynamic.late / max(one.late for one in static))
        scenario = f"placement-{name}"
        at = {"size": "TCP", "ports": traces.VMS, "flows": traces.VMS, "queues": SETUP.queues}
        found += [points.Point(scenario, "vmqd", "delivered_share", shares, **at,
                               note="dynamic, from all VMs on one queue"),
                  points.Point(scenario, "vmqd", "over_best_static", ratios, **at,
                               note="the second half alone: "
                               + ", ".join(f"{value:.3f}" for value in late))]
    return found + cost(bench)


def compete(bench, name, trace):
    """(dynamic, [every static placement]), each the calmest of some replays."""
    static = {}
    with one_world(bench) as world:
        whole = capacity(world)
        for where in traces.placements():
            place(world, where)
            static["".join(map(str, where))] = bench.meter.calmest(
                lambda: replay(bench, world, trace, whole))
    dynamic = bench.meter.calmest(lambda: replay_dynamic(bench, trace, whole))
    bench.tell(f"placement, {name}: a CPU does {whole * SEGMENTS / 1e6:.3f} Mpps; "
               f"{dynamic.moves} moves; delivered: "
               + ", ".join(f"{key} {one.share:.3f}"
                           for key, one in ({"dynamic": dynamic} | static).items()))
    return dynamic, list(static.values())


def replay_dynamic(bench, trace, whole):
    """In a world of its own: what was moved before makes the balancer careful."""
    with one_world(bench) as world:
        place(world, (0,) * traces.VMS)
        let_go(world)
        got = replay(bench, world, trace, whole)
        events = world.lab.cli("event", "list").get("events", [])
        got.moves = sum(event["reason"] in ("QUEUE_MOVED", "PORT_MOVED") for event in events)
        return got


def cost(bench):
    """One busy VM, all pinned: dynamic against static, by turns. Nothing can be moved."""
    ratios = []
    with one_world(bench) as world:
        stream(world, 1, OVERLOAD * capacity(world))
        for number in range(bench.rounds):
            order = ("static", "dynamic") if number % 2 else ("dynamic", "static")
            rate = {mode: rate_under(world, mode, bench.cost_seconds) for mode in order}
            ratios.append(rate["dynamic"] / rate["static"])
        silence(world)
        drained(world)
    bench.tell(f"placement: balancing: {samples.median(ratios):.4f} of the throughput without")
    return [points.Point("placement-cost", "vmqd", "balancing_ratio", ratios, size="TCP", flows=1,
                         ports=traces.VMS, queues=SETUP.queues,
                         note="throughput, balance dynamic over static, nothing to move")]


def rate_under(world, mode, seconds):
    world.lab.cli("uplink", "set", "nic0", "--balance", mode)
    time.sleep(0.3)
    return pps_over(world, seconds)


def pps_over(world, seconds):
    """Frames a second on the wire."""
    before = world.counts()
    time.sleep(seconds)
    return rates(before, world.counts())[1]
