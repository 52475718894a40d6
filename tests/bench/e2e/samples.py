"""What is made of samples: medians, quartiles, ratios within a round, percentiles of a histogram.

Pure functions, used by every part of the end-to-end benchmark.
"""

import statistics

SUB_BUCKETS = 16  # to a doubling, as bench_bucket() of load.h has them


def median(values):
    return statistics.median(values)


def quartiles(values):
    """(first, third), both inside the samples: of few samples no tail is made up."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def ratios(own, other):
    """Round by round, where both have a sample that is not nothing."""
    return [a / b for a, b in zip(own, other) if a is not None and b]


def bucket_ns(bucket):
    """The middle of what a bucket stands for."""
    if bucket < 4 * SUB_BUCKETS:
        return float(bucket)
    exponent, place = divmod(bucket, SUB_BUCKETS)
    return (SUB_BUCKETS + place + 0.5) * 2.0 ** (exponent - 4)


def percentile_ns(histogram, share):
    """Of {bucket: count}; None when there is nothing in it."""
    total = sum(histogram.values())
    if not total:
        return None
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= share * total:
            return bucket_ns(bucket)
    raise AssertionError("counts do not add up")


def merged(histograms):
    whole = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            whole[bucket] = whole.get(bucket, 0) + count
    return whole
