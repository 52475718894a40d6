"""Scenarios in which little or nothing is forwarded: idle, port-add; and what a change costs others."""

import contextlib
import re
import pathlib
import time

from tests.bench.e2e import points, samples
from tests.bench.e2e.world import WIRE, Load, Setup
from tests.bench.processes import Broken, cpu_seconds

IDLE_SECONDS = 2
ADD_RATE = 10000         # frames a second to the port that is not there yet
ADD_PATIENCE = 3         # seconds
CHANGE_RATE = 50000      # frames a second to the VM that should not notice
BETWEEN = 0.02           # seconds from one change to the next
OTHER = 2                # the VM that comes and goes


def resident_mib(pids):
    """Resident memory, huge pages included."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            total += sum(int(size) for _, size in
                         re.findall(r"^(VmRSS|HugetlbPages):\s+(\d+) kB", status, re.M))
    return total / 1024


def idle(bench):
    """Six ports, nothing sent."""
    found = []
    with bench.worlds(Setup(("veth",) * 3 + ("tap",) * 3)) as worlds:
        shares = {world: [] for world in worlds}
        for _ in range(min(bench.rounds, 5)):
            for world in worlds:
                with world.running():
                    world.ends.ask("rest")
                    before, start = cpu_seconds(world.system.pids()), time.monotonic()
                    time.sleep(min(IDLE_SECONDS, 4 * bench.meter.window))
                    used = cpu_seconds(world.system.pids()) - before
                    shares[world].append(100 * used / (time.monotonic() - start))
        for world in worlds:
            place = {"size": "-", "ports": 6, "flows": 0}
            found.append(points.Point("idle", world.name, "idle_cpu_percent", shares[world], **place))
            found.append(points.Point("idle", world.name, "memory_mib",
                                      [resident_mib(world.system.pids())], **place))
    bench.tell("idle: " + ", ".join(f"{point.system} {samples.median(point.samples):.2f} "
                                    f"{points.METRICS[point.metric][0]}" for point in found))
    return found


def port_add(bench):
    """From the call to the first frame in the VM, which was being sent to all the time."""
    took = {}
    with bench.worlds(Setup(("veth",))) as worlds:
        for world in worlds:
            world.prepare(OTHER, "veth")
        for _ in range(bench.rounds):
            for world in worlds:
                with world.running():
                    took.setdefault(world.name, []).append(time_add(world))
    bench.tell("port-add: " + ", ".join(f"{name} {samples.median(values):.1f} ms"
                                        for name, values in took.items()))
    return [points.Point("port-add", name, "port_add_ms", values, ports=2)
            for name, values in took.items()]


def time_add(world):
    world.traffic.ask("reset")
    world.send(Load(WIRE, OTHER, rate=ADD_RATE))
    try:
        time.sleep(0.1)
        if world.traffic.ask("counts")["pkts"]:
            raise Broken(f"{world.name}: frames reach a VM that is not on the switch")
        called = time.monotonic_ns()
        world.system.add(OTHER, "veth")
        got = {"pkts": 0}
        while not got["pkts"]:
            if time.monotonic_ns() > called + ADD_PATIENCE * 1e9:
                raise Broken(f"{world.name}: no frame came through the new port")
            time.sleep(0.01)
            got = world.traffic.ask("counts")
    finally:
        world.quiet()
    world.system.remove(OTHER)
    time.sleep(0.1)  # the kernel lets go of an AF_XDP socket's queue a while after it was closed
    return (got["first"] - called) / 1e6


def disturbance(bench):
    """What VM 1 loses while others change: frames lost, as time at the rate they were sent at."""
    found = []
    with bench.worlds(Setup(("veth",))) as worlds:
        for world in worlds:
            world.prepare(OTHER, "veth")
        found += changes(bench, worlds, "disturbance-none", nothing)
        found += changes(bench, worlds, "disturbance-ports", come_and_go)
    with bench.worlds(Setup(("veth",), nic="tap", queues=2, processors="0,1"), ("vmqd",)) as worlds:
        found += changes(bench, worlds, "disturbance-none", nothing)
        found += changes(bench, worlds, "disturbance-cpu-moves", move_queue)
        found += changes(bench, worlds, "disturbance-re-homes", move_port)
    return found


def nothing(_world, _turn):
    """What is lost without any change is the machine's."""


def come_and_go(world, turn):
    if turn % 2 == 0:
        world.system.add(OTHER, "veth")
    else:
        world.system.remove(OTHER)
        time.sleep(0.1)


def move_queue(world, turn):
    world.lab.cli("queue", "set", "uplinks/nic0/queues/1", "--cpu", turn % 2)


def move_port(world, turn):
    world.lab.cli("port", "set", "vm1", "--queue", turn % 2)


def changes(bench, worlds, name, change):
    found = []
    for world in worlds:
        lost, windows = [], []
        for _ in range(bench.rounds):
            done = [0]

            def keep_changing(seconds, done=done):
                done[0] = 0  # it may be called again
                end = time.monotonic() + seconds
                while time.monotonic() < end or done[0] % 2:
                    change(world, done[0])
                    done[0] += 1
                    time.sleep(BETWEEN)

            window = bench.meter.best(world, Load(WIRE, 1, rate=CHANGE_RATE), keep_changing)
            windows.append(window)
            lost.append((window.sent - window.delivered) / CHANGE_RATE / done[0] * 1e6)
        of_loss = points.of_windows(name, world, Load(WIRE, 1), windows)[1]
        found += [of_loss, points.Point(name, world.name, "outage_us", lost,
                                        queues=world.setup.queues, frames=of_loss.frames)]
    bench.tell(f"{name}: " + ", ".join(f"{point.system} {samples.median(point.samples):.1f}"
                                       for point in found if point.metric == "outage_us")
               + " us lost for each change")
    return found
