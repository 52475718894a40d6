"""balance_scene: two busy VMs on one CPU while others idle, and what dynamic VMQ makes of it.

A scene of deploy/demo. Everything printed and drawn was measured while it played: frames as the VMs'
interfaces count them, loads as `vmqd-cli top` tells them.
"""

import collections
import itertools
import json
import statistics
import subprocess
import threading
import time

import load_plot

RULES = 800         # routing rules that a VM looks through for each frame, as one with a firewall would
STATIC_SECONDS = 5
DYNAMIC_SECONDS = 12  # at most
AFTER_SECONDS = 4   # to go on for after the last move

# What the demo lends: nic (its NIC stand-in), frame (bytes), cli (prints and runs vmqd-cli), command
# (the words of vmqd-cli), mac, received and inside (of VMs by number).
Stage = collections.namedtuple("Stage", "nic frame cli command mac received inside")


class Looks:
    """What `vmqd-cli top` says, as it says it."""

    def __init__(self, stage):
        self.loads, self.moves, self.queues = {}, [], {}  # {cpu: [(s, workers %, other %)]}
        self.process = subprocess.Popen([*stage.command, "-o", "json", "top", "--interval", "0.5"],
                                        stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            now, look = time.monotonic(), json.loads(line)
            for port in look["ports"]["ports"]:
                self.queues[port["name"]] = port["effectiveQueue"]
            for cpu in look["switch"]["cpus"]:
                if cpu["queues"] or cpu["cpu"] in self.loads:
                    busy = [load["busyPercent"] for load in cpu["loads"] if load["seconds"] == 1]
                    self.loads.setdefault(cpu["cpu"], []).append((now, sum(busy), cpu["otherPercent"]))
            self.moves += [(now, event) for event in look["moves"]["events"]]

    def close(self):
        self.process.terminate()
        self.thread.join()
        self.process.wait()


class Traffic:
    """Frames to VMs at a rate until it is stopped. The NIC is told each second where they live."""

    def __init__(self, stage, vms, rate, looks):
        self.cpu_seconds = self.seconds = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._send, args=(stage, vms, rate, looks))
        self.thread.start()

    def _send(self, stage, vms, rate, looks):
        while not self.stopped.is_set():
            for vm in vms:
                stage.nic.ask("steer", stage.mac(vm), looks.queues[f"ports/vm{vm}"])
            words = stage.nic.ask("send", 1, rate, stage.frame, *map(stage.mac, vms)).split()
            sent = dict(zip(words[::2], map(float, words[1::2])))
            self.cpu_seconds += sent["cpu"]
            self.seconds += sent["seconds"]

    def stop(self):
        self.stopped.set()
        self.thread.join()


def two_on_one_cpu(ports):
    """Numbers of two VMs: on different queues of one CPU where there is such a CPU, else on one queue."""
    home = {int(port["name"].removeprefix("ports/vm")): (port["cpu"], port["effectiveQueue"])
            for port in ports}
    pairs = [pair for pair in itertools.combinations(sorted(home), 2)
             if home[pair[0]][0] == home[pair[1]][0]]
    return min(pairs, key=lambda pair: home[pair[0]] == home[pair[1]])


def measure(stage, looks, windows, seconds):
    """One row a second; goes on until seconds are over, or AFTER_SECONDS after the last move."""
    first_move = len(looks.moves)
    end = time.monotonic() + seconds
    told = first_move
    while (now := time.monotonic()) < end:
        before = stage.received()
        time.sleep(1)
        later = time.monotonic()
        windows.append((now, later, (stage.received() - before) / (later - now)))
        loads = "".join(f"   CPU {cpu} {rows[-1][1]:3.0f} + {rows[-1][2]:3.0f} %"
                        for cpu, rows in sorted(looks.loads.items()))
        print(f"  {windows[-1][2]:>9,.0f} frames/s{loads}", flush=True)
        for at, move in looks.moves[told:]:
            print(f"  {move['reason']} {move['resource']}: {move['message']}", flush=True)
            told += 1
            if move["reason"] != "MOVE_GAINED":
                end = at + AFTER_SECONDS
    return [at for at, move in looks.moves[first_move:] if move["reason"] != "MOVE_GAINED"]


def rate_of(windows, since=0):
    return statistics.median(rate for start, _, rate in windows if start >= since)


def play(stage, ports, plot):
    vms = two_on_one_cpu(ports)
    rules = "".join(f"rule add from 198.18.{i // 250}.{i % 250 + 1} lookup 100\n" for i in range(RULES))
    for vm in vms:
        subprocess.run(stage.inside(vm, "ip", "-batch", "-"), input=rules, text=True, check=True)
    looks = Looks(stage)
    try:
        while len(looks.queues) < len(ports):
            time.sleep(0.05)
        act(stage, vms, looks, plot)
    finally:
        looks.close()


def act(stage, vms, looks, plot):
    rate = find_rate(stage, vms)
    names = " and ".join(f"vm{vm}" for vm in vms)
    print(f"  {rate:,} frames/s go to {names}, 1.6 times what their CPU can do; the other VMs are idle."
          "\n  Load of a CPU: its workers + everything else.\n  static:")
    traffic = Traffic(stage, vms, rate, looks)
    windows, begin = [], time.monotonic()
    try:
        measure(stage, looks, windows, STATIC_SECONDS)
        before = rate_of(windows[1:])
        switched = time.monotonic()
        stage.cli("uplink", "set", "nic0", "--balance", "dynamic")
        moved = measure(stage, looks, windows, DYNAMIC_SECONDS)
    finally:
        traffic.stop()
    if moved:
        after = rate_of(windows, moved[-1])
        print(f"\n  {before:,.0f} frames/s before, {after:,.0f} after: {after / before:.2f} times as much, "
              f"{moved[0] - switched:.1f} s after vmqd was allowed to move.")
    else:
        print(f"\n  vmqd moved nothing in {DYNAMIC_SECONDS} s.")
    print(f"  The generator, which a NIC would not need, used {traffic.cpu_seconds / traffic.seconds:.0%} "
          "of a CPU.")
    marks = [(switched, "dynamic")] + [(at, "move") for at in moved]
    load_plot.write(plot, f"vmqd: {names} begin on one CPU",
                    [(start - begin, end - begin, rate) for start, end, rate in windows],
                    {cpu: [(at - begin, *load) for at, *load in rows if at >= begin]
                     for cpu, rows in looks.loads.items()},
                    [(at - begin, text) for at, text in marks])
    print(f"  Load per CPU over time: {plot}")


def find_rate(stage, vms):
    """The load to offer: 1.6 times what the CPU of both delivers when it gets more than it can take."""
    before, start = stage.received(), time.monotonic()
    stage.nic.ask("send", 1, 200_000, stage.frame, *map(stage.mac, vms))
    return round(1.6 * (stage.received() - before) / (time.monotonic() - start))
