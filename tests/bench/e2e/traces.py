"""Load traces of the placement scenario: what VMs need of a CPU, second by second. Pure functions.

Three VMs and two CPUs: few enough to try every placement. What they need fits the two CPUs when it is
placed well, but for some seconds of `bursty`.
"""

import itertools
import random

VMS = 3


def steady(seconds):
    """Two busy ones that must not meet, and a quiet one."""
    return [(0.7, 0.7, 0.15)] * seconds


def bursty(seconds):
    """Each VM by itself: bursts of 2 to 5 s, as long a rest in between."""
    dice = random.Random(2)
    columns = []
    for _ in range(VMS):
        column, busy = [], dice.random() < 0.5
        while len(column) < seconds:
            column += [0.75 if busy else 0.1] * dice.randint(2, 5)
            busy = not busy
        columns.append(column[:seconds])
    return list(zip(*columns))


def flip_flop(seconds):
    """Two VMs busy by turns, as fast as a balancer that believes the last second would follow: left
    together they fit on one CPU."""
    return [(0.8, 0.1, 0.45) if second // 4 % 2 == 0 else (0.1, 0.8, 0.45)
            for second in range(seconds)]


TRACES = {"steady": steady, "bursty": bursty, "flip-flop": flip_flop}


def placements(vms=VMS, queues=2):
    """Every one, mirror images included: the two CPUs are not equal, senders run on one of them."""
    return list(itertools.product(range(queues), repeat=vms))
