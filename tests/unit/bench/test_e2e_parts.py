"""The pure parts of the end-to-end benchmark: the search, what is made of samples, the judgement."""

import random

import pytest

from tests.bench.e2e import judge, points, report, samples, traces
from tests.bench.e2e.search import RateSearch


def find(capacity, search, lose=lambda load, capacity: max(0, 1 - capacity / load)):
    """Runs a search against a switch that delivers `capacity` frames a second; how many trials."""
    trials = 0
    while (load := search.next_rate()) is not None:
        search.record(load, lose(load, capacity))
        trials += 1
        assert trials < 100, "the search does not end"
    return trials


@pytest.mark.parametrize("capacity", [1500, 31337, 900000, 1999999])
def test_search_finds_what_a_switch_can_do(capacity):
    search = RateSearch(2000000, width=0.02)
    assert find(capacity, search) < 50
    assert capacity / 1.03 <= search.result <= capacity


def test_search_takes_the_highest_load_if_it_holds():
    search = RateSearch(1000000)
    assert find(5000000, search) <= 2
    assert search.result == 1000000


def test_search_gives_up_where_everything_is_lost():
    search = RateSearch(1000000)
    assert find(0, search) < 60
    assert search.result == 0


def test_one_bad_trial_decides_nothing():
    """A machine that loses frames in every third trial is found to be as fast as it is."""
    dice, search, trials = random.Random(1), RateSearch(2000000), [0]

    def lose(load, capacity):
        trials[0] += 1
        return 0.01 if trials[0] % 3 == 0 else max(0, 1 - capacity / load)

    find(1000000 + dice.randint(0, 9), search, lose)
    assert 1000000 / 1.06 <= search.result <= 1000010


def test_search_obeys_the_goal():
    search = RateSearch(2000000, goal=0.5, width=0.02)
    find(400000, search)
    assert 800000 / 1.03 <= search.result <= 800000


def test_result_is_what_was_really_offered():
    search = RateSearch(1000000)
    while search.next_rate():
        search.record(700000, 0)
    assert search.result == 700000


def test_quartiles_stay_within_the_samples():
    assert samples.quartiles([3.0]) == (3.0, 3.0)
    assert samples.quartiles([1, 2, 3, 4, 5]) == (2, 4)
    low, high = samples.quartiles([1, 100])
    assert 1 <= low <= high <= 100


def test_percentiles_of_a_histogram():
    """Buckets as bench_bucket() of load.h counts them: 16 to a doubling."""
    def bucket(ns):
        exponent = ns.bit_length() - 1
        return ns if exponent < 4 else exponent * 16 + (ns >> (exponent - 4) & 15)

    times = [random.Random(3).randint(1000, 90000) for _ in range(5000)] + [5000000]
    histogram = {}
    for ns in times:
        histogram[bucket(ns)] = histogram.get(bucket(ns), 0) + 1
    times.sort()
    for share in (0.5, 0.99):
        exact = times[int(share * len(times))]
        assert samples.percentile_ns(histogram, share) == pytest.approx(exact, rel=0.07)
    assert samples.percentile_ns(histogram, 1) == pytest.approx(5000000, rel=0.04)
    assert samples.percentile_ns({}, 0.5) is None


def result(**metrics):
    """A result with these samples: metric -> {system: samples}."""
    found = [points.Point("wire-veth", system, metric, values)
             for metric, by_system in metrics.items() for system, values in by_system.items()]
    return {"schema": report.SCHEMA, "points": [point.as_json() for point in found],
            "failures": [], "when": "", "machine": {"kernel": "", "cpus": 2, "model": ""},
            "windows": {"measured": 5, "disturbed": 0}}


def judged(first, second):
    return {verdict.metric: verdict.judged for verdict in judge.compare(first, second)}


def test_a_slower_machine_is_no_worse_build():
    """Both systems at half their speed: the ratio is what it was."""
    first = result(pps={"vmqd": [10, 11, 12, 11, 10], "bridge": [5, 5.5, 6, 5.5, 5]})
    second = result(pps={"vmqd": [5, 5.5, 6, 5.5, 5], "bridge": [2.5, 2.75, 3, 2.75, 2.5]})
    assert judged(first, second) == {"pps": "same"}


def test_worse_and_better():
    first = result(pps={"vmqd": [100, 101, 99]}, cpu_us_per_frame={"vmqd": [2.0, 2.1, 1.9]})
    second = result(pps={"vmqd": [80, 81, 79]}, cpu_us_per_frame={"vmqd": [1.0, 1.1, 0.9]})
    assert judged(first, second) == {"pps": "worse", "cpu_us_per_frame": "better"}
    assert judged(second, first) == {"pps": "better", "cpu_us_per_frame": "worse"}


def test_overlapping_spreads_say_nothing():
    first = result(pps={"vmqd": [100, 60, 140, 100, 80]})
    second = result(pps={"vmqd": [90, 50, 130, 90, 70]})
    assert judged(first, second) == {"pps": "same"}


def test_nothing_against_nothing():
    first = result(loss={"vmqd": [0, 0, 0]}, idle_cpu_percent={"vmqd": [0.01, 0.0]})
    second = result(loss={"vmqd": [0, 0.0002, 0]}, idle_cpu_percent={"vmqd": [0.09, 0.0]})
    assert set(judged(first, second).values()) == {"same"}
    much = result(loss={"vmqd": [0.2, 0.3, 0.2]}, idle_cpu_percent={"vmqd": [90, 91]})
    assert set(judged(first, much).values()) == {"worse"}


def test_table_has_every_figure():
    whole = result(pps={"vmqd": [2e6, 2e6], "bridge": [1e6, 1e6]}, port_add_ms={"vmqd": [3, 4]})
    table = report.markdown(whole)
    assert "2.00 (2.00 to 2.00)" in table and "port_add_ms" in table


@pytest.mark.parametrize("name", traces.TRACES)
def test_traces(name):
    trace = traces.TRACES[name](24)
    assert trace == traces.TRACES[name](24), "not the same twice"
    assert len(trace) == 24 and all(len(needs) == traces.VMS for needs in trace)
    assert all(0 < need <= 1 for needs in trace for need in needs)
    # Some placement has room for it in most seconds, and some other one has not.
    def overloaded(placement):
        return sum(any(sum(need for need, queue in zip(needs, placement) if queue == cpu) > 1.05
                       for cpu in (0, 1)) for needs in trace)

    counts = [overloaded(placement) for placement in traces.placements()]
    assert len(counts) == 8 and min(counts) <= 8 < max(counts)
