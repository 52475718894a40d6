"""What all scenarios share: which systems there are, their worlds, the meter, and what is said.

Used by the thread of tests/bench/e2e/run. What must stay true: one system's failure is written down
and leaves the others to be measured; whatever a scenario made is gone when it ends.
"""

import contextlib

from tests.bench.e2e import paths, samples, systems
from tests.bench.e2e.measure import Meter
from tests.bench.e2e.world import World
from tests.bench.processes import Broken
from tests.lab.api import Refused
from tests.lab.namespaces import CommandFailed

FAILURES = (Broken, CommandFailed, AssertionError, Refused, OSError)


class Bench:
    """The choices of the command line, `options`, are attributes here."""

    def __init__(self, options, traffic):
        self.traffic, self.rounds, self.sizes = traffic, options.rounds, options.sizes
        self.port_counts, self.flow_counts = options.ports, options.flows
        self.queue_counts, self.goal, self.flows = options.queues, options.loss_goal, 64
        self.traces, self.trace_seconds = options.traces, options.trace_seconds
        self.placement_rounds = options.placement_rounds
        self.cost_seconds = 2 * options.window
        self._deep, self.systems = options.deep, []
        self.failures = []
        self.meter = Meter(options.window, min(0.2, options.window))
        for name in options.systems:
            if reason := systems.SYSTEMS[name].missing():
                self.fail(f"{name}: {reason}")
            else:
                self.systems.append(name)

    def deep(self, path):
        return path in self._deep

    @staticmethod
    def tell(text):
        print(text, flush=True)

    def fail(self, text):
        self.failures.append(text)
        self.tell(f"failed   {text}")

    def say(self, scenario, where, got):
        self.tell(f"{scenario}, {where}: " + ", ".join(
            f"{world.name} {samples.median([window.pps for window in windows]) / 1e6:.3f}"
            for world, windows in got.items()) + " Mpps")

    @contextlib.contextmanager
    def worlds(self, setup, only=None):
        """The worlds of every system that can take part; those that pass also answer for their
        frames in the end."""
        with contextlib.ExitStack() as stack:
            made = []
            for name in only or self.systems:
                if not set(setup.kinds) <= set(systems.SYSTEMS[name].KINDS):
                    continue
                own = stack.enter_context(contextlib.ExitStack())
                try:
                    made.append(World(own, self.traffic, systems.SYSTEMS[name], setup))
                except FAILURES as error:
                    own.close()
                    self.fail(f"{name}, {len(setup.kinds)} VMs ({setup.kinds[0]}), "
                              f"MTU {setup.mtu}: {str(error)[:500]}")
            yield made
            for world in made:
                with world.running():
                    try:
                        world.system.check()
                    except FAILURES as error:
                        self.fail(f"{world.name}: {str(error)[:500]}")

    def measure(self, name, scenario):
        """Points of one scenario; what went wrong is kept."""
        try:
            return paths.run(name, self) if scenario is None else scenario(self)
        except FAILURES as error:
            self.fail(f"{name}: {str(error)[:1000]}")
            return []
