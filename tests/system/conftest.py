"""The fixture every system test uses, and --pause."""

import os
import subprocess
import sys

import pytest

from tests.lab import guest_image
from tests.lab.api import Client
from tests.lab.lab import Lab
from tests.lab.namespaces import remove_stale, run
from tests.lab.vmqd import CLI, VMQD


def pytest_addoption(parser):
    parser.addoption("--pause", action="store_true",
                     help="a failed test keeps its namespaces until Enter (with -n0 -s)")


def pytest_sessionstart(session):
    if os.geteuid():
        pytest.exit("system tests need root: they make network namespaces", returncode=1)
    remove_stale()
    for binary in (VMQD, CLI):
        if not binary.exists():
            pytest.exit(f"{binary} is not built: cmake --preset release && "
                        "cmake --build --preset release", returncode=1)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.passed = report.passed


def lab_of(request):
    world = Lab()
    try:
        yield world
        if getattr(request.node, "passed", False):
            world.finish()
        else:
            report(request, world)
    finally:
        world.close()


@pytest.fixture
def lab(request):
    yield from lab_of(request)


@pytest.fixture
def other_lab(request):
    """A second host, for a test with two."""
    yield from lab_of(request)


@pytest.fixture(scope="session")
def guest_files():
    """Downloads and builds what the guests boot, once, before any daemon runs."""
    try:
        guest_image.image()
    except guest_image.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def api(lab):
    """A client of a daemon with the uplink nic0."""
    lab.nic()
    lab.start(uplink="nic0")
    with Client(lab.daemon.address) as client:
        yield client


FOREIGN = """#include <linux/bpf.h>
__attribute__((section("xdp"), used)) int foreign(struct xdp_md* ctx) { return 2; /* XDP_PASS */ }
char LICENSE[] __attribute__((section("license"), used)) = "GPL";
"""


@pytest.fixture
def foreign(tmp_path):
    """An XDP program that is not vmqd's."""
    source, program = tmp_path / "foreign.c", tmp_path / "foreign.o"
    source.write_text(FOREIGN)
    arch = run("gcc", "-print-multiarch").stdout.strip()
    run("clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{arch}", "-c", source, "-o",
        program)
    return program


def report(request, world):
    """A failed test says what the daemon said, and waits if asked to."""
    if world.daemon:
        print(f"--- log of vmqd\n{world.daemon.log()[-8000:]}")
        for words in (("port", "list"), ("queue", "list"), ("stats", "show")):
            if world.daemon.process.poll() is None:
                shown = world.call(*words, output="table").stdout
                print(f"--- vmqd-cli {' '.join(words)}\n{shown[-6000:]}")
    if request.config.getoption("--pause"):
        sys.stderr.write(f"\n{request.node.nodeid} failed; its world stands:\n{world.describe()}\n")
        subprocess.run(["bash", "-c", "read -rp 'Enter to take it down ' </dev/tty"], check=False)
