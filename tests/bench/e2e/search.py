"""The search for the highest rate without loss: RFC 2544's, with MLRsearch's goal.

A pure state machine, so that the searches of several switches can take turns: next_rate() says what
to try, record() what came of it. A trial fails when it lost more than `goal`. A virtual machine
loses frames now and then without the switch having a part in it, so a load that fails is tried
again, and holds when half of its trials pass; MLRsearch calls that an exceed ratio of one half.
"""

import math

PATIENCE = 3  # trials at one load, at the most


class RateSearch:
    """Bisects, in logarithms, until the bounds are `width` apart, as a share of the lower one."""

    def __init__(self, highest, *, lowest=1000, goal=0.0, width=0.05):
        assert highest > 0
        self.lowest, self.goal, self.width = min(lowest, highest), goal, width
        self.holds, self.fails = None, None  # loads
        self.offered = 0                     # what the best trial really offered
        self._load = highest
        self._passed = self._failed = 0

    def next_rate(self):
        """Frames a second to offer, or None when the search is over."""
        return self._load

    def record(self, offered, loss):
        """A trial at next_rate(): frames a second that were really offered, and the share lost."""
        if loss <= self.goal:
            self._passed += 1
            self.offered = max(self.offered, offered)
        else:
            self._failed += 1
        if self._passed * 2 >= PATIENCE - 1:
            self.holds = self._load
        elif self._failed * 2 > PATIENCE:
            self.fails = self._load
        else:
            return
        self._passed = self._failed = 0
        self._load = self._middle()

    def _middle(self):
        if self.fails is None:
            return None  # even the highest load holds
        if self.holds is None:
            lower = max(self.lowest, self.fails / 4)
            return lower if self.fails > self.lowest * (1 + self.width) else None
        if self.fails / self.holds <= 1 + self.width:
            return None
        return math.sqrt(self.holds * self.fails)

    @property
    def result(self):
        """Frames a second; 0 when nothing held."""
        return min(self.holds, self.offered) if self.holds else 0.0
