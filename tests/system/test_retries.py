"""The API for callers that retry: request ids, etags, dry runs, creation by update, and callers
that no longer wait. Driven by a stock Python client made from the shipped protos.
"""

import concurrent.futures
import re
import threading

import pytest

from tests.lab.api import Client, Refused, asked, messages, new_id, tap
from tests.lab.endpoints import wait_until


def refused(code, reason, field, call, **fields):
    """The sentence of a call that must be refused so."""
    with pytest.raises(Refused) as caught:
        call(**fields)
    error = caught.value
    assert (error.code, error.reason, error.field) == (code, reason, field), error
    return error.sentence


def ports(api):
    return {port.name: asked(port) for port in api.ListPorts().ports}


def everything(lab, api):
    """What a change that was not made must not have changed: resources, revision, devices."""
    switch = api.GetSwitch()
    uplinks = {uplink.name: asked(uplink) for uplink in api.ListUplinks().uplinks}
    return ports(api), uplinks, switch.state_revision, sorted(lab.host.links())


# --- a stock client drives everything


def test_a_stock_client_drives_everything(lab):
    v1 = messages()
    lab.nic("nic0")
    lab.nic("nic1", queues=2, mac="02:00:00:00:ff:09")
    lab.start()
    with Client(lab.daemon.address) as api:
        watch = api.Watch()
        uplink = api.CreateUplink(uplink_id="up", uplink=v1.Uplink(device="nic0"))
        assert (uplink.name, uplink.oper_status) == ("uplinks/up", v1.UP)
        assert api.CreateUplink(uplink=v1.Uplink(device="nic1")).name == "uplinks/nic1"
        assert api.GetUplink(name="uplinks/up").device == "nic0"
        assert [up.name for up in api.ListUplinks().uplinks] == ["uplinks/nic1", "uplinks/up"]
        changed = api.UpdateUplink(uplink=v1.Uplink(name="uplinks/up", wake_mode=v1.INTERRUPT),
                                   update_mask={"paths": ["wake_mode"]})
        assert changed.wake_mode == changed.effective_wake_mode == v1.INTERRUPT

        port = api.CreatePort(port_id="vm1", port=tap("vm1", 1, uplink="uplinks/up"))
        assert port.name == "ports/vm1" and port.etag
        assert api.GetPort(name="ports/vm1").etag == port.etag
        first = api.ListPorts(page_size=1)
        assert [one.name for one in first.ports] == ["ports/vm1"] and not first.next_page_token
        assert api.UpdatePort(port=v1.Port(name="ports/vm1", vlan=7),
                              update_mask={"paths": ["vlan"]}).vlan == 7

        queue = api.GetQueue(name="uplinks/up/queues/1")
        assert queue.buffers > 0
        assert len(api.ListQueues(parent="uplinks/-").queues) == 6
        switch = api.GetSwitch()
        assert (switch.uplink_count, switch.port_count, switch.worker_count) == (2, 1, 6)
        assert switch.revision >= switch.state_revision > 0
        assert api.Diagnose().findings and api.Diagnose(device="nic0").findings

        api.DeletePort(name="ports/vm1")
        api.DeleteUplink(name="uplinks/up")
        api.DeleteUplink(name="uplinks/nic1")
        seen = set()
        for response in watch:
            seen.add(response.deleted or response.WhichOneof("what"))
            if response.deleted == "uplinks/nic1":
                break
        watch.cancel()
        assert {"reset", "synced", "uplink", "port", "event", "ports/vm1", "uplinks/up"} <= seen
        assert api.ListEvents().events, "nothing was told of all that"

        assert api.health() == api.health("vmqd.v1.Vmqd") == "SERVING"
        assert api.health("vmqd.v1.Nothing") == "NOT_FOUND"
        assert {"vmqd.v1.Vmqd", "grpc.health.v1.Health"} <= set(api.services())
        assert any(b"vmqd.v1" in file for file in api.file_of("vmqd.v1.Vmqd"))


def test_events_come_in_pages(lab, api):
    for index in range(1, 6):
        api.CreatePort(port_id="vm1", port=tap("vm1", index))
        api.DeletePort(name="ports/vm1")
    whole = api.ListEvents().events
    assert len(whole) >= 3, whole
    revisions = [event.revision for event in whole]
    assert revisions == sorted(set(revisions))
    paged, token = [], ""
    while True:
        page = api.ListEvents(page_size=2, page_token=token)
        paged += page.events
        token = page.next_page_token
        if not token:
            break
        assert len(page.events) == 2
    assert paged[:len(whole)] == list(whole)
    refused("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", "page_token", api.ListEvents,
            page_token="cG9ydHMvYQ==")  # "ports/a"


# --- request_id


CHANGES = {
    "create": lambda api, **more: api.CreatePort(
        port_id="vm2", port=tap("vm2", 2, uplink="uplinks/nic0"), **more),
    "update": lambda api, **more: api.UpdatePort(
        port=messages().Port(name="ports/vm1", vlan=9), update_mask={"paths": ["vlan"]}, **more),
    "delete": lambda api, **more: api.DeletePort(name="ports/vm1", **more),
    "create-uplink": lambda api, **more: api.CreateUplink(
        uplink=messages().Uplink(device="nic1"), **more),
    "update-uplink": lambda api, **more: api.UpdateUplink(
        uplink=messages().Uplink(name="uplinks/nic0", wake_mode=messages().INTERRUPT),
        update_mask={"paths": ["wake_mode"]}, **more),
    "delete-uplink": lambda api, **more: api.DeleteUplink(name="uplinks/nic2", **more),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_repeated_request_id_gets_the_answer_of_then(lab, what):
    for index, nic in enumerate(("nic0", "nic1", "nic2")):
        lab.nic(nic, queues=1, mac=f"02:00:00:00:ff:{0x10 + index:02x}")
    lab.conserves = False  # the daemon is killed
    lab.start(uplink="nic0")
    change, request_id = CHANGES[what], new_id()
    with Client(lab.daemon.address) as api:
        api.CreateUplink(uplink=messages().Uplink(device="nic2"))
        api.CreatePort(port_id="vm1", port=tap("vm1", 1, uplink="uplinks/nic0"))
        first = change(api, request_id=request_id)
        after = everything(lab, api)
        assert asked(change(api, request_id=request_id)) == asked(first)
        assert everything(lab, api) == after
        # What happens in between makes no difference: the answer is that of then.
        api.CreatePort(port_id="vm3", port=tap("vm3", 3, uplink="uplinks/nic0"))
    lab.daemon.kill()
    lab.daemon.start()
    with Client(lab.daemon.address) as api:
        before = everything(lab, api)
        assert asked(change(api, request_id=request_id)) == asked(first)
        assert everything(lab, api) == before
        sentence = refused("INVALID_ARGUMENT", "REQUEST_ID_REUSED", "request_id", api.CreatePort,
                           port_id="other", port=tap("other", 9), request_id=request_id)
        assert request_id in sentence
        refused("INVALID_ARGUMENT", "REQUEST_ID_REUSED", "request_id", api.DeletePort,
                name="ports/vm3", request_id=request_id)
        assert everything(lab, api) == before


def test_a_refused_call_does_not_use_its_request_id_up(api):
    api.CreatePort(port_id="vm1", port=tap("vm1", 1))
    request_id = new_id()
    for _ in range(2):
        refused("ALREADY_EXISTS", "PORT_EXISTS", "port_id", api.CreatePort, port_id="vm1",
                port=tap("vm1b", 2), request_id=request_id)
    api.DeletePort(name="ports/vm1")
    assert api.CreatePort(port_id="vm1", port=tap("vm1b", 2), request_id=request_id)


@pytest.mark.parametrize("request_id", ["x" * 65, "a\nb", "tab\t", "\x7f", "\u00e9"])
def test_a_malformed_request_id(lab, api, request_id):
    before = everything(lab, api)
    refused("INVALID_ARGUMENT", "REQUEST_ID_MALFORMED", "request_id", api.CreatePort,
            port_id="vm1", port=tap("vm1", 1), request_id=request_id)
    assert everything(lab, api) == before


def test_the_same_request_at_once_is_done_once(lab, api):
    """Sixteen copies of one call, in flight together, over four connections."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = [Client(lab.daemon.address) for _ in range(4)]
        for index in range(1, 11):
            name, request_id = f"vm{index}", new_id()
            copies = [pool.submit(clients[copy % 4].CreatePort, port_id=name,
                                  port=tap(name, index), request_id=request_id)
                      for copy in range(16)]
            answers = [copy.result() for copy in copies]
            assert all(asked(answer) == asked(answers[0]) for answer in answers)
            told = [event.reason for event in api.ListEvents().events
                    if event.resource == f"ports/{name}"]
            assert told.count("ADDED") == 1, told
        for client in clients:
            client.channel.close()


# --- etag


def test_an_etag_that_is_not_the_resources(lab, api):
    v1 = messages()
    created = api.CreatePort(port_id="vm1", port=tap("vm1", 1))
    mask = {"paths": ["vlan"]}
    changed = api.UpdatePort(port=v1.Port(name="ports/vm1", vlan=7, etag=created.etag),
                             update_mask=mask)
    assert changed.etag not in ("", created.etag)
    before = everything(lab, api)
    for etag in (created.etag, "nonsense"):
        refused("ABORTED", "ETAG_MISMATCH", "port.etag", api.UpdatePort, update_mask=mask,
                port=v1.Port(name="ports/vm1", vlan=8, etag=etag))
        refused("ABORTED", "ETAG_MISMATCH", "etag", api.DeletePort, name="ports/vm1", etag=etag)
        refused("ABORTED", "ETAG_MISMATCH", "uplink.etag", api.UpdateUplink,
                uplink=v1.Uplink(name="uplinks/nic0", wake_mode=v1.POLL, etag=etag),
                update_mask={"paths": ["wake_mode"]})
        refused("ABORTED", "ETAG_MISMATCH", "etag", api.DeleteUplink, name="uplinks/nic0",
                etag=etag)
    assert everything(lab, api) == before
    api.UpdatePort(port=v1.Port(name="ports/vm1", vlan=8, etag="*"), update_mask=mask)
    api.DeletePort(name="ports/vm1", etag=api.GetPort(name="ports/vm1").etag)


def test_of_two_who_read_and_write_back_one_wins(lab, api):
    v1 = messages()
    etag = api.CreatePort(port_id="vm1", port=tap("vm1", 1)).etag
    start = threading.Barrier(8)

    def write(vlan):
        with Client(lab.daemon.address) as client:
            start.wait()
            try:
                return client.UpdatePort(port=v1.Port(name="ports/vm1", vlan=vlan, etag=etag),
                                         update_mask={"paths": ["vlan"]})
            except Refused as error:
                assert error.reason == "ETAG_MISMATCH", error
                return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        won = [answer for answer in pool.map(write, range(1, 9)) if answer]
    assert len(won) == 1
    assert asked(api.GetPort(name="ports/vm1")) == asked(won[0])


def test_an_etag_survives_a_restart(lab, api):
    lab.conserves = False  # the daemon is killed
    created = api.CreatePort(port_id="vm1", port=tap("vm1", 1))
    lab.daemon.kill()
    lab.daemon.start()
    with Client(lab.daemon.address) as client:
        assert client.GetPort(name="ports/vm1").etag == created.etag


# --- validate_only


@pytest.mark.parametrize("what", CHANGES)
def test_validate_only_changes_nothing(lab, what):
    for index, nic in enumerate(("nic0", "nic1", "nic2")):
        lab.nic(nic, queues=1, mac=f"02:00:00:00:ff:{0x10 + index:02x}")
    lab.start(uplink="nic0")
    with Client(lab.daemon.address) as api:
        api.CreateUplink(uplink=messages().Uplink(device="nic2"))
        api.CreatePort(port_id="vm1", port=tap("vm1", 1, uplink="uplinks/nic0"))
        wait_until(lambda: len(api.ListEvents().events) > 0)
        before = everything(lab, api)
        request_id = new_id()
        would = CHANGES[what](api, validate_only=True, request_id=request_id)
        assert everything(lab, api) == before
        done = CHANGES[what](api, request_id=request_id + "-2")
        if "delete" not in what:
            for resource in (would, done):
                resource.ClearField("etag")
            assert asked(would) == asked(done), "answers what the resource would be"


def test_validate_only_refuses_what_would_be_refused(lab, api):
    api.CreatePort(port_id="vm1", port=tap("vm1", 1))
    before = everything(lab, api)
    refused("ALREADY_EXISTS", "MAC_IN_USE", "port.macs[0]", api.CreatePort, port_id="vm2",
            port=tap("vm2", 1), validate_only=True)
    refused("ALREADY_EXISTS", "PORT_EXISTS", "port_id", api.CreatePort, port_id="vm1",
            port=tap("vm2", 2), validate_only=True)
    refused("FAILED_PRECONDITION", "NO_SUCH_DEVICE", "uplink.device", api.CreateUplink,
            uplink=messages().Uplink(device="nosuch"), validate_only=True)
    refused("FAILED_PRECONDITION", "UPLINK_IN_USE", "name", api.DeleteUplink, name="uplinks/nic0",
            validate_only=True)
    refused("NOT_FOUND", "NOT_FOUND", "name", api.DeletePort, name="ports/nosuch",
            validate_only=True)
    assert everything(lab, api) == before


# --- allow_missing and update_mask


def test_an_update_creates_what_is_missing(lab, api):
    port = tap("vm1", 1, name="ports/vm1", vlan=7, mtu=1400)
    refused("NOT_FOUND", "NOT_FOUND", "port.name", api.UpdatePort, port=port,
            update_mask={"paths": ["vlan"]})
    refused("INVALID_ARGUMENT", "FIELD_REQUIRED", "port.kind", api.UpdatePort,
            port=messages().Port(name="ports/vm1"), update_mask={"paths": ["vlan"]},
            allow_missing=True)
    assert not api.ListPorts().ports
    created = api.UpdatePort(port=port, update_mask={"paths": ["vlan"]}, allow_missing=True)
    assert (created.vlan, created.mtu, created.device) == (7, 1400, "vm1"), "the whole port"
    # Once it is there, the mask counts.
    port.vlan, port.mtu = 8, 1300
    updated = api.UpdatePort(port=port, update_mask={"paths": ["vlan"]}, allow_missing=True)
    assert (updated.vlan, updated.mtu) == (8, 1400)


def test_an_update_attaches_a_missing_uplink(lab, api):
    v1 = messages()
    lab.nic("nic1", queues=2, mac="02:00:00:00:ff:09")
    uplink = v1.Uplink(name="uplinks/up", device="nic1", wake_mode=v1.INTERRUPT)
    mask = {"paths": ["wake_mode"]}
    refused("NOT_FOUND", "NOT_FOUND", "uplink.name", api.UpdateUplink, uplink=uplink,
            update_mask=mask)
    created = api.UpdateUplink(uplink=uplink, update_mask=mask, allow_missing=True)
    assert (created.device, created.wake_mode) == ("nic1", v1.INTERRUPT)
    uplink.wake_mode = v1.POLL
    changed = api.UpdateUplink(uplink=uplink, update_mask=mask, allow_missing=True)
    assert (changed.device, changed.wake_mode) == ("nic1", v1.POLL)


def test_an_update_that_asks_for_nothing_new(lab, api):
    """Who applies the same again every minute neither writes to the disk nor wakes the watchers,
    and spoils nobody's etag.
    """
    v1 = messages()
    created = api.CreatePort(port_id="vm1", port=tap("vm1", 1, vlan=7))
    before = everything(lab, api)
    star = {"paths": ["*"]}
    same = api.UpdatePort(port=tap("vm1", 1, name="ports/vm1", vlan=7), update_mask=star)
    assert same.etag == created.etag
    same = api.UpdatePort(port=v1.Port(name="ports/vm1", vlan=7), update_mask={"paths": ["vlan"]})
    assert same.etag == created.etag
    api.UpdateUplink(uplink=v1.Uplink(name="uplinks/nic0"), update_mask=star)
    assert everything(lab, api) == before


def test_deletion_of_what_is_missing(lab, api):
    before = everything(lab, api)
    refused("NOT_FOUND", "NOT_FOUND", "name", api.DeletePort, name="ports/nosuch")
    refused("NOT_FOUND", "NOT_FOUND", "name", api.DeleteUplink, name="uplinks/nosuch")
    api.DeletePort(name="ports/nosuch", allow_missing=True, request_id=new_id())
    api.DeleteUplink(name="uplinks/nosuch", allow_missing=True)
    assert everything(lab, api)[:2] == before[:2]


def test_a_star_in_the_mask_means_everything(api):
    v1 = messages()
    star = {"paths": ["*"]}
    api.CreatePort(port_id="vm1", port=tap("vm1", 1, vlan=7, mtu=1400, trusted=True, weight=5))
    replaced = api.UpdatePort(port=tap("vm1", 2, name="ports/vm1", disabled=True),
                              update_mask=star)
    assert (replaced.vlan, replaced.mtu, replaced.trusted, replaced.weight, replaced.disabled) == \
        (0, 0, False, 100, True)
    assert list(replaced.macs) == ["52:54:00:00:00:02"]
    # A pair that took its peer's address keeps it.
    pair = v1.Port(name="ports/box", kind=v1.VETH, device="box", peer_device="box-p")
    first = api.UpdatePort(port=pair, update_mask=star, allow_missing=True)
    second = api.UpdatePort(port=pair, update_mask=star, allow_missing=True)
    assert list(first.effective_macs) == list(second.effective_macs) != []
    uplink = api.UpdateUplink(uplink=v1.Uplink(name="uplinks/nic0", wake_mode=v1.INTERRUPT),
                              update_mask=star)
    assert uplink.wake_mode == v1.INTERRUPT
    refused("INVALID_ARGUMENT", "FIELD_IMMUTABLE", "update_mask", api.UpdateUplink,
            uplink=v1.Uplink(name="uplinks/nic0"), update_mask={"paths": ["steering"]})
    refused("INVALID_ARGUMENT", "FIELD_UNKNOWN", "update_mask", api.UpdateUplink,
            uplink=v1.Uplink(name="uplinks/nic0"), update_mask={"paths": ["colour"]})


# --- callers that no longer wait


def test_who_gave_up_while_waiting_has_changed_nothing(lab, api):
    """Callers with too little time, in a crowd. What became of each call says the audit line: one
    whose time was over before its turn came has done nothing, whatever its caller saw.
    """
    audit = re.compile(r'method=CreatePort resource="ports/(p\d+)" outcome=(\w+)')
    number = 0

    def create(name, index):
        with Client(lab.daemon.address) as client:
            try:
                client.CreatePort(port_id=name, port=tap(name, index), timeout=0.02)
                return name
            except Refused as error:
                assert error.code == "DEADLINE_EXCEEDED", error
                return None

    for _ in range(20):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answered = list(pool.map(lambda index: create(f"p{index}", index),
                                     range(number + 1, number + 33)))
        number += 32
        # Every call that came to the daemon has its line once a later one is answered and the
        # lines stand still; those that never reached it have none.
        outcomes = settled(lambda: dict(audit.findall(lab.daemon.log())))
        done = {f"ports/{name}" for name, outcome in outcomes.items() if outcome == "OK"}
        assert set(ports(api)) == done
        assert {f"ports/{name}" for name in answered if name} <= done
        for name in done:
            api.DeletePort(name=name)
        with open(lab.daemon.log_path, "w"):
            pass  # the next round reads its own lines
        if set(outcomes.values()) & {"DEADLINE_EXCEEDED", "CANCELLED"}:
            return
    raise AssertionError("nobody gave up while waiting, in 20 rounds")


def settled(look):
    """What `look` says when it says the same three times, 100 ms apart."""
    looks = []

    def still():
        looks.append(look())
        return len(looks) >= 3 and looks[-1] == looks[-2] == looks[-3]

    wait_until(still, 60, 0.1, what="audit lines standing still")
    return looks[-1]
