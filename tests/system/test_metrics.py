"""The metrics endpoint of a real daemon: what a scrape says against what the API says."""

import json
import os
import pathlib
import re
import socket
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lab import frames
from tests.lab.endpoints import wait_until
from tests.lab.lab import WIRE_MAC
from tests.lab.vmqd import ROOT, drops, number, quiet

PORT = 9877  # each lab has a network namespace of its own


def start(lab, address="", **kwargs):
    """A daemon whose settings ask for metrics."""
    settings = pathlib.Path(lab.directory) / "vmqd.yaml"
    settings.write_text(f"metrics:\n  address: '{address}'\n")
    lab.start(**kwargs)


def connect(lab, address=("127.0.0.1", PORT)):
    with lab.host.entered():
        return socket.create_connection(address, timeout=60)


def fetch(lab, path="/metrics", method="GET"):
    """(status, headers, text) of one request, over a socket of the host namespace."""
    with connect(lab) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), headers, body.decode()


def scrape(lab):
    """{(name, frozenset of labels): value}; fails when a monitor could not read it."""
    status, headers, text = fetch(lab)
    assert status == 200 and headers["Content-Type"].startswith("text/plain"), (status, headers)
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.type in ("counter", "gauge", "summary"), family
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, key
            samples[key] = sample.value
    return samples


def value(samples, name, **labels):
    return samples.get((name, frozenset(labels.items())))


def names(samples):
    return {name for name, _ in samples}


@pytest.fixture
def busy(lab):
    """A switch that has moved frames both ways and dropped some, and is at rest again."""
    nic = lab.nic()
    start(lab, uplink="nic0")
    vm = lab.tap_vm("vm1", frames.vm_mac(1))
    other = lab.tap_vm("vm2", frames.vm_mac(2))
    nic.send_flow(vm.mac, WIRE_MAC, 1, 50)
    assert vm.wait_flow(1, 50) == list(range(50))
    for _ in range(7):  # not its own address
        vm.send(frames.ether(WIRE_MAC, other.mac, 0x88B5, bytes(60)))
    wait_until(lambda: lab.drops("port", "vm1", "in").get("spoofed_source") == 7, what="drops")
    quiet(lab.daemon)
    return lab


def check_counters(samples, prefix, labels, counters):
    for direction, packets, octets in (("in", "inPkts", "inOctets"),
                                       ("out", "outPkts", "outOctets")):
        both = labels | {"direction": direction}
        assert value(samples, f"{prefix}_packets_total", **both) == number(counters, packets)
        assert value(samples, f"{prefix}_bytes_total", **both) == number(counters, octets)
        assert value(samples, f"{prefix}_discards_total", **both) == number(
            counters, f"{direction}Discards")
        reasons = {dict(found)["reason"]: amount for (name, found), amount in samples.items()
                   if name == f"{prefix}_drops_total" and both.items() <= dict(found).items()}
        assert reasons == drops(counters, direction)
    assert value(samples, f"{prefix}_forwarded_packets_total", **labels) == number(
        counters, "inForwardedPkts")
    assert value(samples, f"{prefix}_offered_packets_total", **labels) == number(
        counters, "offeredPkts")


@pytest.mark.core
def test_scrape_equals_the_api(busy):
    """At a quiet moment the three views are one: metrics, API, command line."""
    lab = busy
    samples = scrape(lab)
    for port in lab.cli("port", "list")["ports"]:
        name = port["name"].split("/")[1]
        labels = {"port": name, "uplink": "nic0"}
        check_counters(samples, "vmqd_port", labels, port["counters"])
        assert value(samples, "vmqd_port_up", **labels) == 1
        assert value(samples, "vmqd_port_home_queue", **labels) == number(port, "effectiveQueue")
    (uplink,) = lab.cli("uplink", "list")["uplinks"]
    check_counters(samples, "vmqd_uplink", {"uplink": "nic0"}, uplink["counters"])
    assert value(samples, "vmqd_uplink_to_host_packets_total", uplink="nic0") == number(
        uplink, "toHostPkts")
    assert value(samples, "vmqd_port_drops_total", port="vm1", uplink="nic0", direction="in",
                 reason="spoofed_source") == 7
    for queue in lab.cli("queue", "list")["queues"]:
        labels = {"uplink": "nic0", "queue": str(number(queue, "queue"))}
        for direction in ("in", "out"):
            assert value(samples, "vmqd_queue_packets_total", direction=direction,
                         **labels) == number(queue, f"{direction}Pkts")
        assert value(samples, "vmqd_queue_drops_total", **labels) == number(queue, "drops")
        assert value(samples, "vmqd_worker_cpu", **labels) == number(queue, "cpu")
        assert value(samples, "vmqd_queue_buffers", **labels) == number(queue, "buffers")
    whole = lab.cli("switch", "show")
    assert value(samples, "vmqd_build_info", version=whole["version"]) == 1
    assert value(samples, "vmqd_ports") == 2 and value(samples, "vmqd_workers") == 4
    assert value(samples, "vmqd_warnings") == len(whole.get("warnings", []))


def test_counters_only_grow(busy):
    lab = busy
    first = scrape(lab)
    lab.call("port", "show", "vm1")
    time.sleep(0.1)
    second = scrape(lab)
    counters = {key for key in first if key[0].endswith("_total")}
    assert len(counters) > 50
    for key in counters:
        assert key in second and second[key] >= first[key], key


def test_series_follow_the_ports(busy):
    lab = busy
    before = scrape(lab)
    lab.tap_vm("vm3", frames.vm_mac(3))
    during = scrape(lab)
    assert value(during, "vmqd_port_up", port="vm3", uplink="nic0") == 1
    lab.cli("port", "del", "vm3")
    after = scrape(lab)
    assert not [key for key in after if dict(key[1]).get("port") == "vm3"]
    assert {key[0] for key in after} == {key[0] for key in before}


def test_state_of_a_port(busy):
    """A port that goes down: up is 0, and exactly one state is 1."""
    lab = busy
    lab.host.ip("link", "set", "vm2", "down")
    labels = {"port": "vm2", "uplink": "nic0"}
    wait_until(lambda: value(scrape(lab), "vmqd_port_up", **labels) == 0, what="port down")
    samples = scrape(lab)
    states = {dict(found)["status"]: amount for (name, found), amount in samples.items()
              if name == "vmqd_port_status" and dict(found)["port"] == "vm2"}
    assert set(states) == {"up", "down", "faulted", "waiting"} and sum(states.values()) == 1
    shown = lab.cli("port", "show", "vm2")["operStatus"]
    assert states[shown.lower()] == 1, (states, shown)


def dashboard_metrics():
    text = (ROOT / "deploy" / "vmqd-dashboard.json").read_text()
    dashboard = json.loads(text)
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    sources = {panel["datasource"]["uid"] for panel in dashboard["panels"]
               if "datasource" in panel}
    assert sources == {"${datasource}"}
    expressions = [target["expr"] for panel in dashboard["panels"]
                   for target in panel.get("targets", [])]
    expressions += [item["definition"] for item in dashboard["templating"]["list"]
                    if "definition" in item]
    assert len(expressions) > 20
    return {name for expression in expressions
            for name in re.findall(r"\b(?:vmqd|process)_\w+", expression)}


def test_dashboard_asks_for_what_is_there(busy):
    """Every metric name of the Grafana dashboard is in a scrape."""
    lab = busy

    wanted = dashboard_metrics()
    offered = names(scrape(lab))
    optional = {"vmqd_uplink_drops_total"}  # reasons that occurred only; none here
    assert wanted - optional <= offered, wanted - optional - offered


def test_no_metrics_unless_asked_for(lab):
    lab.start()
    with pytest.raises(OSError):
        connect(lab)


def test_default_is_loopback(busy):
    listening = busy.host.run("ss", "-Hltn").stdout.split()
    assert f"127.0.0.1:{PORT}" in listening, listening


@pytest.mark.parametrize("address", ["9877", "localhost:9877", "127.0.0.1:70000",
                                     "127.0.0.1:1,127.0.0.1:2", "192.0.2.77:9877"])
def test_bad_address(lab, address):
    """Refused at start with the address in the message."""
    with pytest.raises(AssertionError) as failed:
        start(lab, address)
    assert address in str(failed.value)


def test_nothing_else_is_served(busy):
    for path in ("/", "/metrics/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd"):
        assert fetch(busy, path)[0] in (400, 404), path
    for method in ("POST", "PUT", "DELETE", "PROPFIND"):
        assert fetch(busy, method=method)[0] >= 400, method
    with connect(busy) as client:  # a request that does not end
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 100000)
        answer = client.recv(100)
    assert not answer or re.match(rb"HTTP/1\.[01] 4", answer), answer


def resident(lab):
    status = pathlib.Path(f"/proc/{lab.daemon.pid}/status").read_text()
    return {key: int(amount) for key, amount in re.findall(r"(VmRSS|Threads):\s+(\d+)", status)}


def test_slow_and_many_connections(busy):
    """Connections that never finish hold some threads for a while, and nothing else: no further
    thread, descriptors bounded, the API answers, and scrapes come again."""
    lab = busy
    scrape(lab)
    before = resident(lab)
    held = []
    for _ in range(100):
        with lab.host.entered():
            client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", PORT))
        held.append(client)
    for client in held:
        try:
            client.send(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        except OSError:
            pass
    during = resident(lab)
    assert during["Threads"] == before["Threads"], (before, during)
    assert during["VmRSS"] < before["VmRSS"] + 20_000, (before, during)
    assert lab.cli("switch", "show")["portCount"] == 2
    assert len(os.listdir(f"/proc/{lab.daemon.pid}/fd")) < 200
    for client in held:
        client.close()
    assert value(scrape(lab), "vmqd_ports") == 2


def test_ends_while_somebody_is_connected(busy):
    """An open connection does not keep the daemon from ending orderly."""
    with connect(busy) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        busy.daemon.stop()
