"""Scenarios that are a curve: what wire -> VM costs with many ports, many flows, several queues."""

from tests.bench.e2e import points
from tests.bench.e2e.world import WIRE, Load, Setup


MANY = 300  # ports: more than one queue of vmqd has memory for


def ports(bench):
    """Frames go to all ports in turn. Where there are many, all counts get four queues, by a NIC that
    is a tap: the curve is of one setup."""
    found = []
    nic = {"nic": "tap", "queues": 4} if max(bench.port_counts) > MANY else {}
    for count in bench.port_counts:
        with bench.worlds(Setup(("veth",) * count, **nic)) as worlds:
            load = Load(WIRE, 1, ports=count, flows=max(64, count))
            found += curve("ports", bench, worlds, load, f"{count} ports")
    return found


def flows(bench):
    found = []
    with bench.worlds(Setup(("veth",))) as worlds:
        for count in bench.flow_counts:
            load = Load(WIRE, 1, flows=count)
            found += curve("flows", bench, worlds, load, f"{count} flows")
    return found


def queues(bench):
    """A NIC that is a tap, whose wire writes each frame to the queue its VM is at home on; two VMs
    a queue. The switch has one CPU for all of them."""
    found = []
    for count in bench.queue_counts:
        vms = 2 * count
        with bench.worlds(Setup(("veth",) * vms, nic="tap", queues=count)) as worlds:
            load = Load(WIRE, 1, ports=vms, flows=max(64, vms))
            found += curve("queues", bench, worlds, load, f"{count} queues")
    return found


def curve(name, bench, worlds, load, where):
    if not worlds:
        return []
    got = bench.meter.rounds(worlds, load, bench.rounds)
    bench.say(name, where, got)
    return [point for world, windows in got.items()
            for point in points.of_windows(name, world, load, windows)]
