"""Watch: whoever follows it knows what is there, in the order it happened, without a gap. And two
clients that retry: everything they were told was done was done exactly once.
"""

import concurrent.futures
import dataclasses
import random
import threading
import time

import grpc
import pytest

from tests.lab.api import Client, Refused, Replay, asked, messages, new_id, tap
from tests.lab.endpoints import wait_until

MASK = {"paths": ["mtu"]}


def there(api):
    """What a watcher should know by now: what was asked for, by name."""
    listed = list(api.ListUplinks().uplinks) + list(api.ListPorts().ports)
    return {resource.name: asked(resource) for resource in listed}


def known(replay):
    return {name: asked(resource) for name, resource in replay.resources.items()}


def up_to(revision):
    return lambda replay: replay.synced and replay.revision >= revision


def set_mtu(api, name, mtu, **more):
    return api.UpdatePort(port=messages().Port(name=f"ports/{name}", mtu=mtu), update_mask=MASK,
                          **more)


def test_begins_with_what_is_there_and_follows(lab, api):
    api.CreatePort(port_id="vm1", port=tap("vm1", 1))
    replay, watch = Replay(), api.Watch()
    replay.read(watch, lambda at: at.synced)
    assert known(replay) == there(api)
    assert replay.resets == 1 and replay.revision == api.GetSwitch().revision
    api.CreatePort(port_id="vm2", port=tap("vm2", 2))
    set_mtu(api, "vm1", 1400)
    api.DeletePort(name="ports/vm2")
    replay.read(watch, up_to(api.GetSwitch().revision))
    assert known(replay) == there(api)
    changes = [(what, getattr(it, "name", it)) for _, what, it in replay.log if what != "event"]
    for change in (("port", "ports/vm2"), ("port", "ports/vm1"), ("deleted", "ports/vm2")):
        assert change in changes
    assert replay.resets == 1


def test_tells_what_happens_by_itself(lab, api):
    """A link that goes down is nobody's call, and is told all the same."""
    lab.tap_vm("vm1", "52:54:00:00:00:01").close()  # the VM ends: its tap has no carrier
    replay, watch = Replay(), api.Watch()
    down = messages().DOWN
    replay.read(watch, lambda at: "ports/vm1" in at.resources and
                at.resources["ports/vm1"].oper_status == down)
    assert replay.resources["ports/vm1"].oper_reason


def test_goes_on_from_a_revision(lab, api):
    replay, watch = Replay(), api.Watch()
    replay.read(watch, lambda at: at.synced)
    for index in range(1, 21):
        api.CreatePort(port_id="vm1", port=tap("vm1", index))
        api.DeletePort(name="ports/vm1")
        if index % 5 == 0:  # cut off somewhere in the middle, and go on from there
            replay.read(watch, lambda at, half=(replay.revision + api.GetSwitch().revision) // 2:
                        at.revision >= half)
            watch.cancel()
            watch = api.Watch(revision=replay.revision)
    replay.read(watch, up_to(api.GetSwitch().revision))
    assert replay.resets == 1, "it was all remembered"
    assert known(replay) == there(api)
    deletions = [it for _, what, it in replay.log if what == "deleted"]
    assert deletions == ["ports/vm1"] * 20


def test_starts_over_where_it_cannot_go_on(lab, api):
    lab.conserves = False  # the daemon is killed
    api.CreatePort(port_id="vm1", port=tap("vm1", 1))
    replay, watch = Replay(), api.Watch()
    replay.read(watch, lambda at: at.synced)
    lab.daemon.kill()
    with pytest.raises(grpc.RpcError) as ended:
        replay.read(watch, lambda at: False)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    lab.daemon.start()
    with Client(lab.daemon.address) as client:
        client.DeletePort(name="ports/vm1")
        watch = client.Watch(revision=replay.revision)
        replay.read(watch, up_to(client.GetSwitch().revision))
        assert known(replay) == there(client), "what went unseen is not kept"
        from_nowhere = Replay().read(client.Watch(revision=2 ** 60), lambda at: at.synced)
        assert known(from_nowhere) == there(client) and from_nowhere.resets == 1


def test_an_orderly_end_is_told(lab, api):
    watch = api.Watch()
    Replay().read(watch, lambda at: at.synced)
    stopping = threading.Thread(target=lab.daemon.stop)
    stopping.start()
    with pytest.raises(grpc.RpcError) as ended:
        for _ in watch:
            pass
    stopping.join()
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in ended.value.details()


def test_only_so_many_watch(lab):
    lab.nic()
    with open(f"{lab.directory}/vmqd.yaml", "w") as settings:
        settings.write("limits:\n  watchers: 3\n")
    lab.start(uplink="nic0")
    clients = [Client(lab.daemon.address) for _ in range(4)]
    watches = [client.Watch() for client in clients[:3]]
    for watch in watches:
        next(watch)
    with pytest.raises(grpc.RpcError) as one_too_many:
        next(clients[3].Watch())
    assert one_too_many.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    def place():
        try:
            return next(clients[3].Watch())
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            return None

    watches[0].cancel()
    wait_until(place, 30, what="a place after a watcher left")
    for client in clients:
        client.channel.close()


def resident(daemon):
    """Bytes of the daemon's own memory; the shared pages of packet buffers do not count."""
    with open(f"/proc/{daemon.pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0]) * 1024


def test_slow_watchers_cost_no_memory_and_are_reset(lab, api):
    """Sixteen watchers that do not read, while far more happens than vmqd remembers."""
    remembered, watchers, most = 4096, 16, 16 << 20
    macs = [f"52:54:00:00:01:{index:02x}" for index in range(64)]
    v1 = messages()
    port = tap("vm1", 1)
    del port.macs[:]
    port.macs.extend(macs)
    api.CreatePort(port_id="vm1", port=port)

    def forget_everything():
        first = api.GetSwitch().revision
        mtu = 1000
        while api.GetSwitch().revision < first + 2 * remembered:
            for _ in range(256):
                mtu = 1000 + (mtu + 1) % 400
                api.UpdatePort(port=v1.Port(name="ports/vm1", mtu=mtu), update_mask=MASK)

    forget_everything()  # the history is as large as it gets
    before = resident(lab.daemon)
    slow = [Client(lab.daemon.address) for _ in range(watchers)]
    replays = [Replay() for _ in slow]
    streams = [client.Watch() for client in slow]
    for replay, stream in zip(replays, streams):
        replay.read(stream, lambda at: at.synced)
    forget_everything()
    grown = resident(lab.daemon) - before
    assert grown < most, f"{grown} bytes for {watchers} watchers"
    last = api.GetSwitch().revision
    for replay, stream in zip(replays, streams):
        replay.read(stream, up_to(last))
        assert replay.resets == 2, "told that it missed something, once"
        assert known(replay) == there(api)
    for client in slow:
        client.channel.close()


# --- random histories


@dataclasses.dataclass
class Deed:
    """One thing a client wanted done, with its request id, and what became of it."""
    kind: str
    port: str
    mtu: int            # different in every creation and update: by it the stream tells them apart
    request_id: str
    answers: list       # of the copies that succeeded
    began: float = 0
    ended: float = 0    # of the first answer that says it is done

    @property
    def done(self):
        return bool(self.answers)


class Orchestrator:
    """A client that makes random changes to ports and repeats some of its calls, with the same
    request id: after the answer, or at the same time over two connections.
    """

    def __init__(self, address, seed, ports):
        self.random = random.Random(seed)
        self.clients = [Client(address), Client(address)]
        self.seed, self.ports, self.deeds = seed, ports, []

    def run(self, count):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for number in range(count):
                deed = Deed(self.random.choice(("create", "update", "update", "delete")),
                            self.random.choice(self.ports), 100 + self.seed + 2 * number, new_id(),
                            [])
                deed.began = time.monotonic()
                copies = self.random.choice((1, 1, 2, 4))
                list(pool.map(lambda copy, deed=deed: self.call(deed, copy), range(copies)))
                if deed.done and self.random.random() < 0.3:
                    self.call(deed, 0)
                self.deeds.append(deed)
        return self.deeds

    def call(self, deed, copy):
        client = self.clients[copy % 2]
        try:
            answer = self.send(client, deed)
        except Refused as error:
            assert error.reason in ("PORT_EXISTS", "NOT_FOUND"), error
            return
        deed.ended = deed.ended or time.monotonic()
        deed.answers.append(answer)

    def send(self, client, deed):
        if deed.kind == "create":
            return client.CreatePort(port_id=deed.port, request_id=deed.request_id, port=tap(
                deed.port, 1 + int(deed.port[1:]), mtu=deed.mtu))
        if deed.kind == "update":
            return set_mtu(client, deed.port, deed.mtu, request_id=deed.request_id)
        return client.DeletePort(name=f"ports/{deed.port}", request_id=deed.request_id)

    def close(self):
        for client in self.clients:
            client.channel.close()


def changes_in(replay, start):
    """[(revision, port, mtu or None)] of every change of a port behind revision `start`; puts that
    only say how a port fares now have an etag that was seen before.
    """
    etags, changes = {}, []
    for revision, what, it in replay.log:
        if what == "port":
            if etags.get(it.name) != it.etag and revision > start:
                changes.append((revision, it.name, it.mtu))
            etags[it.name] = it.etag
        elif what == "deleted":
            etags.pop(it, None)
            changes.append((revision, it, None))
    return changes


def check_history(deeds, changes):
    """Every deed that was answered "done" is in the stream once, no other is, and in an order in
    which they can have been done.
    """
    done = [deed for deed in deeds if deed.done]
    for deed in done:
        assert all(answer == deed.answers[0] if deed.kind == "delete" else
                   asked(answer) == asked(deed.answers[0]) for answer in deed.answers), deed
    by_mtu = {mtu: revision for revision, _, mtu in changes if mtu}
    assert len(by_mtu) == len([mtu for _, _, mtu in changes if mtu]), "a change was made twice"
    assert set(by_mtu) == {deed.mtu for deed in done if deed.kind != "delete"}
    deletions = sorted(port for _, port, mtu in changes if mtu is None)
    assert deletions == sorted(f"ports/{deed.port}" for deed in done if deed.kind == "delete")
    # What was done before something else began comes before it.
    marked = sorted((deed for deed in done if deed.kind != "delete"), key=lambda deed: deed.began)
    for index, later in enumerate(marked):
        for earlier in marked[:index]:
            if earlier.ended < later.began:
                assert by_mtu[earlier.mtu] < by_mtu[later.mtu], (earlier, later)
    # A port is made where there is none and changed or deleted where there is one.
    exists, kinds = set(), {deed.mtu: deed.kind for deed in done}
    for _, port, mtu in changes:
        assert (port not in exists) == (mtu is not None and kinds[mtu] == "create"), (port, mtu)
        exists = exists | {port} if mtu else exists - {port}


@pytest.mark.parametrize("seed", range(3))
def test_two_clients_that_retry(lab, api, seed):
    ports = [f"p{index}" for index in range(4)]
    replay, stream = Replay(), api.Watch()
    replay.read(stream, lambda at: at.synced)
    start = replay.revision
    orchestrators = [Orchestrator(lab.daemon.address, 2 * seed + which, ports) for which in (0, 1)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        deeds = sum(pool.map(lambda who: who.run(60), orchestrators), [])
    replay.read(stream, up_to(api.GetSwitch().revision))
    assert replay.resets == 1 and known(replay) == there(api)
    check_history(deeds, changes_in(replay, start))
    for who in orchestrators:
        who.close()


class Stubborn:
    """A client with ports of its own that repeats every call until it has an answer, whatever
    happens to the daemon. It knows what must be there, so no answer may surprise it.
    """

    def __init__(self, lab, seed):
        self.lab, self.random = lab, random.Random(seed)
        self.ports = [f"p{seed * 4 + index}" for index in range(4)]
        self.expected = {}  # port -> mtu
        self.repeated = 0

    def run(self, enough):
        with Client(self.lab.daemon.address) as client:
            number = 0
            while not enough.is_set():
                number += 1
                port, mtu = self.random.choice(self.ports), 1000 + number % 400
                self.until_answered(client, port, mtu, new_id())
        return self.expected

    def until_answered(self, client, port, mtu, request_id):
        delete = port in self.expected and self.random.random() < 0.6
        while True:
            try:
                if delete:
                    client.DeletePort(name=f"ports/{port}", request_id=request_id)
                    del self.expected[port]
                elif port in self.expected:
                    set_mtu(client, port, mtu, request_id=request_id)
                    self.expected[port] = mtu
                else:
                    client.CreatePort(port_id=port, request_id=request_id,
                                      port=tap(port, 1 + int(port[1:]), mtu=mtu))
                    self.expected[port] = mtu
                return
            except Refused as error:
                assert error.code == "UNAVAILABLE", f"{port}: {error}"
                self.repeated += 1


def test_retries_across_sudden_deaths(lab):
    """kill -9 while two clients change things: each call they repeat is answered as if it had been
    the first, and in the end there is what they were told.
    """
    lab.nic()
    lab.conserves = False  # the daemon is killed
    lab.start(uplink="nic0")
    clients, enough = [Stubborn(lab, seed) for seed in (0, 1)], threading.Event()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(client.run, enough) for client in clients]
        try:
            for death in range(12):
                alive_for(lab, 0.2 + 0.05 * death, running)
                lab.daemon.kill()
                lab.daemon.start()
        finally:
            enough.set()
        expected = {}
        for result in running:
            expected |= result.result()
    with Client(lab.daemon.address) as api:
        assert {port.name: port.mtu for port in api.ListPorts().ports} == \
            {f"ports/{port}": mtu for port, mtu in expected.items()}
    assert sum(client.repeated for client in clients) > 0, "no call was ever under way at a death"


def alive_for(lab, seconds, running):
    """Lets the clients work for a while; a client that failed fails the test now."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for one in running:
            assert not one.done() or one.result() is None, "raises what ended the client"
        time.sleep(0.01)
    assert lab.daemon.process.poll() is None
