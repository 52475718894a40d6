"""Every system call fails once: the start and each change are refused in a sentence and undone, or
go on in a stated way. No hang, no crash, no leak.

strace makes the calls fail. Without $VMQD_SWEEP=full, a selection spread over the kinds of calls.
"""

import collections
import itertools
import os
import shutil

import pytest

from tests.lab import faults, frames
from tests.lab.api import Client, Refused, asked, messages, new_id, tap
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.vmqd import OK

FULL = os.environ.get("VMQD_SWEEP") == "full"
BOUND = 20  # seconds for an answer, an end, or coming back

# What a call of this name may be refused with. Calls that only bring the request and the answer, or
# wait, are not the daemon's own.
ERRORS = {
    "openat": "EMFILE", "open": "EMFILE", "socket": "EMFILE", "bind": "EBUSY",
    "setsockopt": "ENOMEM", "getsockopt": "ENOBUFS", "getsockname": "ENOBUFS", "ioctl": "EPERM",
    "mmap": "ENOMEM", "bpf": "ENOMEM", "sendto": "ENOBUFS", "sendmsg": "ENOBUFS",
    "memfd_create": "EMFILE", "ftruncate": "ENOSPC", "epoll_create1": "EMFILE",
    "epoll_ctl": "ENOSPC", "eventfd2": "EMFILE", "pwrite64": "EIO", "write": "EIO",
    "fdatasync": "EIO", "fsync": "EIO", "rename": "EIO", "renameat": "EIO", "unlinkat": "EIO",
    "unlink": "EIO", "clone3": "EAGAIN", "mkdir": "EACCES", "flock": "ENOLCK", "statfs": "EIO",
    "listen": "EADDRINUSE", "chmod": "EPERM", "fchmod": "EPERM", "pread64": "EIO", "fstat": "EIO",
    "newfstatat": "EACCES", "getdents64": "EIO", "sched_setaffinity": "EINVAL",
    "membarrier": "EINVAL", "getrandom": "EAGAIN", "timerfd_create": "EMFILE",
    "setrlimit": "EPERM", "prlimit64": "EPERM", "signalfd4": "EMFILE",
}


def chosen(steps, count):
    """At most `count` of the steps: every kind of call first, then the others, evenly."""
    # Memory of the allocator's own is left out: where there is none left, nothing can be said.
    steps = [step for step in steps if step.name in ERRORS
             and not (step.name == "mmap" and "MAP_ANONYMOUS" in step.text)]
    if FULL:
        return steps
    by_name = collections.defaultdict(list)
    for step in steps:
        by_name[step.name].append(step)
    # The middle one of each kind, then their first ones, then others.
    groups = [[group[len(group) // 2], *faults.spread(group, 4)] for group in by_name.values()]
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*groups))
    return list(dict.fromkeys(step for step in rounds if step))[:count]


# --- one change


class Change:
    """A call under test, the state it starts from, and what undoes it."""

    spared = ()  # calls that are not made to fail

    def __init__(self, lab, client):
        self.lab, self.client, self.v1 = lab, client, messages()

    def before(self):
        """Brings about what the change starts from."""

    def make(self):
        raise NotImplementedError

    def undo(self):
        """After a change that was made; from there, `before` is possible again."""

    def there(self):
        """Whether the change has been made, as the API shows it."""
        raise NotImplementedError

    def delete(self, name):
        self.client.DeletePort(name=name, allow_missing=True)

    def has(self, name):
        return name in {port.name for port in self.client.ListPorts().ports}


class CreateTap(Change):
    def make(self):
        self.client.CreatePort(port_id="new", port=tap("new", 99))

    def undo(self):
        self.delete("ports/new")

    def there(self):
        return self.has("ports/new")


class CreateVeth(CreateTap):
    def make(self):
        port = self.v1.Port(kind=self.v1.VETH, device="new", peer_device="new-p",
                            macs=[frames.vm_mac(99)])
        self.client.CreatePort(port_id="new", port=port)


class CreateUplink(Change):
    def make(self):
        self.client.CreateUplink(uplink=self.v1.Uplink(device="eth2", buffers_per_queue=2048))

    def undo(self):
        self.client.DeleteUplink(name="uplinks/eth2", allow_missing=True)

    def there(self):
        return "uplinks/eth2" in {uplink.name for uplink in self.client.ListUplinks().uplinks}


class UpdatePort(Change):
    def make(self):
        self.set(77, [frames.vm_mac(1), frames.vm_mac(78)])

    def undo(self):
        self.set(0, [frames.vm_mac(1)])

    def set(self, vlan, macs):
        self.client.UpdatePort(port=self.v1.Port(name="ports/vm1", vlan=vlan, macs=macs),
                               update_mask={"paths": ["vlan", "macs"]})

    def there(self):
        return self.client.GetPort(name="ports/vm1").vlan == 77


class DeleteTap(Change):
    created = CreateTap
    # libxdp asks where the rings of a socket are to unmap them, and keeps them, and with them the
    # hardware queue, when the answer is an error. The kernel has none for it, nor for a write to an
    # eventfd that wakes a worker.
    spared = ("getsockopt", "write")

    def before(self):
        self.created(self.lab, self.client).make()

    def make(self):
        self.client.DeletePort(name="ports/new")

    def there(self):
        return not self.has("ports/new")


class DeleteVeth(DeleteTap):
    created = CreateVeth


class DeleteUplink(DeleteTap):
    created = CreateUplink

    def make(self):
        self.client.DeleteUplink(name="uplinks/eth2")

    def there(self):
        return not CreateUplink(self.lab, self.client).there()


CHANGES = [CreateTap, CreateVeth, CreateUplink, UpdatePort, DeleteTap, DeleteVeth, DeleteUplink]


@pytest.fixture
def world(lab):
    """A switch with a port, and room for another uplink."""
    lab.wire("eth1")
    lab.wire("eth2", queues=2)
    lab.conserves = False  # what an injected fault does to a counter is not looked at
    lab.start(uplink="eth1")
    lab.tap_vm("vm1", frames.vm_mac(1))
    with Client(lab.daemon.address) as client:
        yield lab, client


def kernel_side(lab):
    return sorted(lab.host.links()), sorted(os.listdir(lab.daemon.pins))


def api_side(client):
    def configured(item):
        kept = asked(item)
        kept.etag = ""
        return kept

    return ([configured(item) for item in client.ListUplinks().uplinks],
            [configured(item) for item in client.ListPorts().ports])


def descriptors_settle(lab, before, step):
    """A leak is what stays."""
    wait_until(lambda: sum(faults.descriptors(lab.daemon.pid).values()) <= sum(before.values()), 5,
               0.02, check=False)
    now = faults.descriptors(lab.daemon.pid)
    assert sum(now.values()) <= sum(before.values()), (step, now - before)


@pytest.mark.parametrize("kind", CHANGES)
def test_a_call_fails_in_a_change(world, kind):
    lab, client = world
    change = kind(lab, client)
    log = os.path.join(lab.directory, "strace")
    for _ in range(2):  # once to warm up what is made at the first use
        change.before()
        start_kernel, start_api = kernel_side(lab), api_side(client)
        with faults.Tracer(lab.daemon.pid, log) as tracer:
            change.make()
        made_kernel, made_api = kernel_side(lab), api_side(client)
        change.undo()
    serving = [step for step in faults.of_task_with(tracer.steps(), "fdatasync")
               if step.name not in kind.spared]
    fds = faults.descriptors(lab.daemon.pid)
    results = collections.Counter()
    for step in chosen(serving, 24):
        change.before()
        with faults.Tracer(lab.daemon.pid, log, *faults.failing(step, ERRORS[step.name])):
            try:
                change.make()
                sentence = None
            except Refused as error:
                assert error.code != "DEADLINE_EXCEEDED", (step, "hangs")
                assert error.sentence, step
                sentence = error.sentence
        hit = "(INJECTED)" in open(log, errors="replace").read()
        results[step.name, "refused" if sentence else "done" if hit else "not hit"] += 1
        assert lab.daemon.process.poll() is None, (step, lab.daemon.process.returncode)
        if sentence:
            assert (kernel_side(lab), api_side(client)) == (start_kernel, start_api), (
                step, sentence)
            change.make()  # and nothing of the first attempt is in its way
        assert change.there(), step
        wait_until(lambda: (kernel_side(lab), api_side(client)) == (made_kernel, made_api), BOUND,
                   check=False)
        assert (kernel_side(lab), api_side(client)) == (made_kernel, made_api), (step, sentence)
        change.undo()
        descriptors_settle(lab, fds, step)
    for what, count in sorted(results.items()):
        print(f"{kind.__name__}: {' '.join(what)}: {count}")
    lab.daemon.kill()
    lab.daemon.start()  # and what is written is what was answered
    wait_until(lambda: lab.call("switch", "show").returncode == OK)


# --- dead at each step of a commit


def commit_steps(serving):
    """The calls from the one before the commit to the one after it."""
    places = [place for place, step in enumerate(serving) if step.name in (
        "pwrite64", "fdatasync", "fsync", "renameat", "rename", "ftruncate")
        or step.name == "openat" and "state." in step.text]
    return [step for step in serving[max(0, places[0] - 1):places[-1] + 4]
            if step.name not in ("futex", "restart_syscall", "clock_nanosleep")]


@pytest.mark.parametrize("turn_over", [False, True])
def test_dead_at_each_step_of_a_commit(world, turn_over):
    """What was acknowledged is there; what was not, entirely or not at all. With `turn_over`, the
    commit also begins a new generation of the state file."""
    lab, client = world
    log = os.path.join(lab.directory, "strace")
    if turn_over:  # many small changes: the next makes the file too large
        file = lab.daemon.state / max(os.listdir(lab.daemon.state),
                                      key=lambda name: name.startswith("state."))
        update, turn = UpdatePort(lab, client), itertools.count(1000)
        macs = lambda count: [frames.vm_mac(1)] + [frames.vm_mac(next(turn)) for _ in range(count)]
        while file.stat().st_size < (256 << 10) - 900:
            update.set(0, macs(15))
        while file.stat().st_size < (256 << 10) - 200:
            update.set(0, macs(1))
        lab.daemon.kill()
        saved = os.path.join(lab.directory, "saved")
        shutil.copytree(lab.daemon.state, saved)

    def start():
        if turn_over:
            shutil.rmtree(lab.daemon.state)
            shutil.copytree(saved, lab.daemon.state)
        lab.daemon.start()
        return Client(lab.daemon.address)

    def call(client):
        client.CreatePort(port_id="new0", port=tap("new0", 90), request_id=request, timeout=10,
                          wait=False)
        acked.append("ports/new0")

    acked, request = [], new_id()
    if turn_over:
        client = start()
    client.GetSwitch()
    with faults.Tracer(lab.daemon.pid, log) as tracer:
        call(client)
    serving = faults.of_task_with(tracer.steps(), "fdatasync")
    names = {step.name for step in serving}
    assert not turn_over or "renameat" in names, sorted(names)
    client.DeletePort(name="ports/new0")
    lab.daemon.kill()
    steps = commit_steps(serving)
    if not FULL:
        important = [step for step in steps if step.name in ("renameat", "fsync", "unlinkat")]
        steps = important + faults.spread([s for s in steps if s not in important], 6)
    outcomes = collections.Counter()
    for step in steps:
        acked, request = [], new_id()
        client = start()
        client.GetSwitch()
        with faults.Tracer(lab.daemon.pid, log, *faults.killing(step)):
            try:
                call(client)
            except Refused as error:
                assert error.code == "UNAVAILABLE", (step, error)
        died = not acked
        lab.daemon.kill()
        lab.daemon.start()
        with Client(lab.daemon.address) as again:
            there = {port.name for port in again.ListPorts().ports} - {"ports/vm1"}
            assert set(acked) <= there, (step, acked, there)
            assert len(there - set(acked)) <= 1, (step, acked, there)
            outcomes["under way: there" if there - set(acked) else "under way: not there"] += died
            assert "ports/vm1" in {port.name for port in again.ListPorts().ports}
            assert {name for name in lab.host.links() if name.startswith("new")} == {
                name.removeprefix("ports/") for name in there}
            again.CreatePort(port_id="new0", port=tap("new0", 90), request_id=request)  # once
            again.DeletePort(name="ports/new0")
        lab.daemon.kill()
    print(dict(outcomes))
    assert sum(outcomes.values()) > 0, "no step was hit"
    lab.daemon.start()


# --- the start


def own_steps(steps):
    """Those of the daemon itself: behind its first look at its settings."""
    first = next(place for place, step in enumerate(steps) if "vmqd.yaml" in step.text)
    return steps[first:]


def launch(lab, log, *options):
    """vmqd with strace on its main thread. strace is not its parent; so its end is seen as it is."""
    lab.daemon.launch("strace", "-D", "-qq", "-o", log, *options)


def answers(lab):
    return lab.daemon.process.poll() is not None or \
        lab.call("switch", "show", timeout=BOUND).returncode == OK


def recorded_start(lab, log):
    launch(lab, log)
    wait_until(lambda: answers(lab), 60, what="vmqd answering")
    lab.wait_up("vm1")
    lab.daemon.kill()
    return own_steps(faults.steps(log))


def whole(lab, nic, flow):
    """Everything of the state runs."""
    vm = lab.vm
    lab.wait_up("vm1")
    for name in ("vm2", "vm1"):
        port = lab.cli("port", "show", name)
        assert port["operStatus"] in ("UP", "DOWN"), port
    wait_until(lambda: (nic.send(frames.numbered(vm.mac, WIRE_MAC, flow, 0)), vm.flow(flow))[1],
               BOUND, 0.05, what="a frame for vm1")


@pytest.mark.parametrize("part", [0, 1])
def test_a_call_fails_in_the_start(lab, part):
    """It ends with a sentence and code 1, or serves and says what does not work; and the next start
    is as if nothing had been."""
    nic = lab.nic(queues=2)
    lab.conserves = False
    lab.start(uplink="nic0")
    lab.vm = lab.tap_vm("vm1", frames.vm_mac(1))
    lab.cli("port", "add", "vm2", "--veth", "vm2,vm2-p", "--mac", frames.vm_mac(2))
    log = os.path.join(lab.directory, "strace")
    lab.daemon.kill()
    main = [step for step in recorded_start(lab, log)]
    main = [step for step in main if step.task == main[0].task]
    steps = chosen(main, 32)[part::2]
    results, flow = collections.Counter(), 1
    for step in steps:
        lab.daemon.log_path.unlink(missing_ok=True)
        launch(lab, log, *faults.failing(step, ERRORS[step.name]))
        wait_until(lambda: answers(lab), 60, what=f"an answer or an end with {step}")
        code = lab.daemon.process.poll()
        said = lab.daemon.log()
        if code is not None:
            assert code > 0, (step, code, said)  # and no signal
            lines = [line for line in said.splitlines() if line.strip()]
            assert lines and len(lines[-1]) > 20, (step, said)
            results[step.name, "refused"] += 1
        else:
            ports = {port["name"]: port for port in lab.cli("port", "list")["ports"]}
            assert set(ports) == {"ports/vm1", "ports/vm2"}, (step, said)
            waits = [port for port in ports.values() if port["operStatus"] == "WAITING"]
            assert all(port["operReason"] for port in waits), (step, ports)
            # What failed once is tried again by itself.
            whole_again = wait_until(
                lambda: lab.cli("port", "show", "vm1")["operStatus"] == "UP", BOUND, 0.1,
                check=False)
            assert whole_again, (step, said, lab.cli("port", "show", "vm1"))
            results[step.name, "served, after waiting" if waits else "served"] += 1
            lab.daemon.kill()
        flow += 1
        if flow % 8 == 0:
            lab.daemon.start()
            whole(lab, nic, flow)
            lab.daemon.kill()
    for what, count in sorted(results.items()):
        print(f"start: {' '.join(what)}: {count}")
    lab.daemon.start()
    whole(lab, nic, 1000)
    lab.finish()
