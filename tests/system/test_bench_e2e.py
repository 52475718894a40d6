"""The end-to-end benchmark still measures: frames are counted, and all devices are gone after it."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from tests.lab.namespaces import run
from tests.lab.vmqd import ROOT

RUN = ROOT / "tests" / "bench" / "e2e" / "run"
COMPARE = ROOT / "tests" / "bench" / "compare"
TINY = ("--quick", "--rounds", "2", "--window", "0.1")


def namespaces(pid):
    return [name for name in run("ip", "netns", "list").stdout.split() if f"vq-{pid}-" in name]


@pytest.mark.measures
def test_quick_run_counts_every_frame(tmp_path):
    process = subprocess.Popen([RUN, *TINY, "--scenario", "wire-veth,wire-vhost", "--sizes", "64,imix",
                                "--systems", "vmqd,bridge", "--out", tmp_path],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert not namespaces(process.pid), output
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["schema"] == 1 and not result["failures"]
    seen = {(point["scenario"], point["system"], point["size"]) for point in result["points"]}
    assert seen == {("wire-veth", system, size) for system in ("vmqd", "bridge")
                    for size in (64, "IMIX")} | {("wire-vhost", "vmqd", 64),
                                                 ("wire-vhost", "vmqd", "IMIX")}
    for point in result["points"]:
        counted = point["frames"]
        assert counted["sent"] == counted["delivered"] + counted["lost"], point
        assert counted["delivered"] > 0 and counted["lost"] >= 0, point
        assert len(point["samples"]) == 2
        if point["metric"] == "pps":
            assert min(point["samples"]) > 0
    for plot in ("wire-veth-pps.svg", "wire-vhost-cpu-us-per-frame.svg"):
        assert "</svg>" in (tmp_path / plot).read_text()
    assert "| wire-veth | 64 |" in (tmp_path / "result.md").read_text()
    same = subprocess.run([COMPARE, tmp_path / "result.json", tmp_path / "result.json"], text=True,
                          capture_output=True)
    assert same.returncode == 0 and same.stdout == "0 better, 12 same, 0 worse\n", same
    for point in result["points"]:
        if (point["system"], point["metric"]) == ("vmqd", "pps"):
            point["samples"] = [value / 1000 for value in point["samples"]]
    (tmp_path / "slow.json").write_text(json.dumps(result))
    worse = subprocess.run([COMPARE, tmp_path / "result.json", tmp_path / "slow.json"], text=True,
                           capture_output=True)
    assert worse.returncode == 1 and worse.stdout.endswith("8 same, 4 worse\n"), worse


@pytest.mark.measures
def test_an_interrupted_run_leaves_nothing(tmp_path):
    process = subprocess.Popen([RUN, *TINY, "--scenario", "wire-veth", "--rounds", "1000", "--out",
                                tmp_path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, start_new_session=True)
    for _ in range(300):
        if namespaces(process.pid) or process.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(2)
    assert namespaces(process.pid), process.communicate()[0]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody gets it
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None), output
    assert not namespaces(process.pid)
    left = run("pgrep", "-s", process.pid, check=False).stdout
    assert not left, re.sub(r"\s+", " ", left)
