"""Points: one figure of one system at one place of a scenario, with all its samples."""

import dataclasses

from tests.bench.e2e import samples

# name -> (unit, what is better)
METRICS = {
    "pps": ("frames/s", "higher"),
    "loss": ("share", "lower"),
    "cpu_us_per_frame": ("us", "lower"),
    "zero_loss_pps": ("frames/s", "higher"),
    "rtt_p50_us": ("us", "lower"), "rtt_p99_us": ("us", "lower"), "rtt_p999_us": ("us", "lower"),
    "idle_cpu_percent": ("% of a CPU", "lower"),
    "memory_mib": ("MiB", "lower"),
    "port_add_ms": ("ms", "lower"),
    "outage_us": ("us for each change", "lower"),
    "delivered_share": ("share of what was offered", "higher"),
    "over_best_static": ("ratio", "higher"),
    "balancing_ratio": ("ratio", "higher"),
}


@dataclasses.dataclass
class Point:
    scenario: str
    system: str
    metric: str
    samples: list
    size: int | str = 64
    ports: int = 1
    flows: int = 64
    queues: int = 1
    note: str = ""
    frames: dict | None = None  # {"sent", "delivered", "lost"} of all windows together
    disturbed: int = 0          # windows that stayed disturbed

    def as_json(self):
        unit, better = METRICS[self.metric.partition("@")[0]]
        first, third = samples.quartiles(self.samples)
        return dataclasses.asdict(self) | {"unit": unit, "better": better,
                                           "median": samples.median(self.samples),
                                           "quartiles": [first, third]}


def size_name(size):
    return "IMIX" if size == 0 else size


def of_windows(scenario, world, load, windows, **place):
    """pps, loss and cost of windows under one load."""
    sent, delivered = (sum(getattr(window, name) for window in windows)
                       for name in ("sent", "delivered"))
    counted = {"sent": sent, "delivered": delivered, "lost": sent - delivered}
    common = {"size": size_name(load.size), "ports": load.ports, "flows": load.flows,
              "queues": world.setup.queues, "frames": counted,
              "disturbed": sum(window.disturbed for window in windows)} | place
    return [Point(scenario, world.name, metric, [getattr(window, field) for window in windows],
                  **common)
            for metric, field in (("pps", "pps"), ("loss", "loss"), ("cpu_us_per_frame", "cpu_us"))]
