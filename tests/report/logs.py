# Reads the interval log with HdrHistogram's Python port, adds up the intervals of each tag, and holds each line of our
# .hgrm of the same row and time against that sum: value, count, and that it is the first value to reach its percentile.
# (The port's own printer takes other steps than the Java original, so texts cannot be compared line by line.)
# Usage: logs.py LOG HGRM...
import io
import os
import re
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

NS_MAX = 3_600_000_000_000
NS_PER_MS = 1_000_000


def sums_by_tag(path):
    reference = HdrHistogram(1, NS_MAX, 3)
    reader = HistogramLogReader(path, reference)
    sums = {}
    while (interval := reader.get_next_interval_histogram()) is not None:
        tag = interval.get_tag()
        sums.setdefault(tag, HdrHistogram(1, NS_MAX, 3)).add(interval)
    assert reader.get_start_time_sec() == 1_795_000_000.0, reader.get_start_time_sec()
    return sums


def lines_of(text):
    lines = text.splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"], lines[0]
    assert lines[1] == "", lines[1]
    data = [line.split() for line in lines[2:] if not line.startswith("#[")]
    comments = [line for line in lines[2:] if line.startswith("#[")]
    assert [line.split()[0] for line in comments] == ["#[Mean", "#[Max", "#[Buckets"], comments
    return [[float(field) for field in line] for line in data], comments


def check(path, sums):
    name = os.path.basename(path).removesuffix(".hgrm")
    tag = next(tag for tag in sums if name == "-".join(tag.rsplit(".", 1)))
    theirs, total = sums[tag], sums[tag].get_total_count()
    counts = [(step.value_iterated_to, step.total_count_to_this_value) for step in theirs.get_recorded_iterator()]
    highest = {theirs.get_highest_equivalent_value(value): index for index, (value, _) in enumerate(counts)}
    with open(path, encoding="utf-8") as file:
        ours, comments = lines_of(file.read())
    assert len(ours) > 20, name
    for value_ms, quantile, count, *inverse in ours:
        index = highest[round(value_ms * NS_PER_MS)]
        assert count == counts[index][1], (name, value_ms, count)
        # It is the first value that reaches this level.
        assert count / total >= quantile - 1e-11, (name, value_ms, quantile)
        assert index == 0 or counts[index - 1][1] / total < quantile + 1e-11, (name, value_ms, quantile)
        assert bool(inverse) == (quantile < 1), (name, quantile)
    assert [ours[0][1], ours[-1][1:]] == [0, [1, total]], (name, ours[0], ours[-1])
    check_footer(comments, theirs)


def check_footer(comments, theirs):
    printed = io.BytesIO()
    theirs.output_percentile_distribution(printed, NS_PER_MS, 5)
    _, their_comments = lines_of(printed.getvalue().decode())
    numbers = [[float(number) for number in re.findall(r"[\d.]+", line)] for line in comments]
    their_numbers = [[float(number) for number in re.findall(r"[\d.]+", line)] for line in their_comments]
    # Theirs has three decimals, and does not scale its deviation.
    assert abs(numbers[0][0] - their_numbers[0][0]) < 0.001, (comments, their_comments)
    assert abs(numbers[0][1] * NS_PER_MS / their_numbers[0][1] - 1) < 0.001, (comments, their_comments)
    assert abs(numbers[1][0] - their_numbers[1][0]) < 0.001 and numbers[1][1] == their_numbers[1][1], comments
    assert numbers[2] == their_numbers[2], (comments, their_comments)


def main():
    sums = sums_by_tag(sys.argv[1])
    for path in sys.argv[2:]:
        check(path, sums)
    print(f"{len(sys.argv) - 2} files agree")


main()
