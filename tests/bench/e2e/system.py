"""What every system under test can be told. Driven from one thread.

What must stay true: all systems get the same devices and know the same addresses beforehand (nothing is
flooded, nothing has to be learnt), and what they start ends with stop().
"""


class System:
    NAME = ""
    KINDS = ()

    def __init__(self, world):
        self.world, self.host = world, world.host

    @classmethod
    def missing(cls):
        """Why it cannot be measured here, or None."""
        return None

    def start(self):
        """Runs, with the NIC attached."""

    def add(self, number, kind):
        """VM `number` is on the switch, or is once settle() returns."""
        raise NotImplementedError

    def remove(self, number):
        raise NotImplementedError

    def settle(self):
        """Returns when every VM is reachable."""

    def pids(self):
        """Processes that work for it, kernel threads included."""
        return []

    def check(self):
        """Fails if the system itself finds that frames are missing."""

    def stop(self):
        """Also after a start that failed."""
