"""vmqd-cli apply and switch export: the switch becomes what the file says, a second time nothing
happens, and what cannot be done is said before anything is changed.

Files are written as JSON where a test computes them: apply reads that as the YAML it is.
"""

import json
import random

import pytest

from tests.lab import frames
from tests.lab.namespaces import make_veth, run
from tests.lab.vmqd import CLI, OK, REFUSED, UNREACHABLE, USAGE

CHOSEN = ("uplink", "device", "macs")  # by vmqd, where the file says nothing


class Files:
    """apply and export of one lab's switch."""

    def __init__(self, lab, path):
        self.lab, self.path = lab, path / "switch.yaml"

    def write(self, config):
        self.path.write_text(config if isinstance(config, str) else json.dumps(config))
        return self.path

    def call(self, config, *options, output="table"):
        return self.lab.call("apply", "-f", self.write(config), *options, output=output)

    def apply(self, config, *options):
        """apply that must succeed; its plan."""
        done = self.call(config, *options, output="json")
        assert done.returncode == OK, f"{config}\n{done.stdout}{done.stderr}"
        plan = json.loads(done.stdout)
        assert plan["refusals"] == [], plan
        assert plan["stepsDone"] == (0 if "--dry-run" in options else plan["steps"]), plan
        return plan

    def export(self):
        done = self.lab.call("switch", "export", output="json")
        assert done.returncode == OK, done
        return json.loads(done.stdout)

    def state(self):
        """What is there, and which devices; counters apart."""
        return self.export(), sorted(self.lab.host.links())


@pytest.fixture
def files(lab, tmp_path):
    return Files(lab, tmp_path)


def tap(name, index, **more):
    return {"name": name, "kind": "tap", "device": name, "macs": [frames.vm_mac(index)]} | more


def actions(plan):
    return {change["name"]: change["action"] for change in plan["changes"]}


SWITCH = """\
uplinks:
  - device: nic0
    wake_mode: interrupt
ports:
  - name: vm1
    kind: tap
    device: vm1
    macs: ["52:54:00:00:00:01"]
    vlan: 10
  - name: web
    kind: veth
    peer_device: web-p
  - name: host
    kind: host
    peer_device: vhost0
    weight: 0
"""


def test_makes_the_switch_and_then_does_nothing(lab, files):
    lab.nic()
    lab.start()
    done = files.call(SWITCH)
    assert done.returncode == OK, done
    assert done.stdout.splitlines() == [
        "[1/4] uplinks/nic0 created", "[2/4] ports/vm1 created", "[3/4] ports/web created",
        "[4/4] ports/host created", "4 created"], done.stdout
    vm1 = lab.cli("port", "show", "vm1")
    assert (vm1["vlan"], vm1["uplink"], vm1["weight"]) == (10, "uplinks/nic0", 100), vm1
    assert lab.cli("port", "show", "host")["weight"] == 0
    assert lab.cli("uplink", "show", "nic0")["wakeMode"] == "INTERRUPT"
    before = files.state()
    for options in ((), ("--prune",), ("--dry-run",)):
        done = files.call(SWITCH, *options)
        assert (done.returncode, done.stdout) == (OK, "nothing to do\n"), (options, done)
    assert files.state() == before


def test_export_is_a_file_that_does_nothing(lab, files, tmp_path):
    lab.nic()
    lab.start()
    files.apply(SWITCH)
    path = tmp_path / "exported.yaml"
    assert lab.call("switch", "export", "-f", path, output="table").returncode == OK
    text = path.read_text()
    assert "kind: tap" in text and "operStatus" not in text and "etag" not in text, text
    assert lab.call("switch", "export", output="table").stdout == text
    assert files.apply(text, "--prune")["steps"] == 0
    assert files.apply(files.export(), "--prune")["steps"] == 0
    # Made anew from it, also by what comes through a pipe, it is the same switch.
    before = files.export()
    files.apply("{}", "--prune")
    assert files.export() == {}
    done = run(CLI, "--address", lab.daemon.address, "apply", "-f", "-", input=text)
    assert done.stdout.endswith("4 created\n"), done
    assert files.export() == before


def test_dry_run_shows_and_changes_nothing(lab, files):
    lab.nic()
    lab.start()
    files.apply(SWITCH)
    before = files.state()
    wanted = (SWITCH.replace("vlan: 10", "vlan: 20").replace("web-p", "web-q")
              .replace("interrupt", "adaptive").replace("name: host", "name: host2")
              .replace("vhost0", "vhost1"))
    done = files.call(wanted, "--dry-run", "--prune")
    assert done.returncode == OK, done
    for line in ("~ uplinks/nic0", "    wake_mode: interrupt -> adaptive", "~ ports/vm1",
                 "    vlan: 10 -> 20", "-/+ ports/web: peer_device is immutable",
                 "    peer_device: web-p -> web-q", "+ ports/host2", "- ports/host",
                 "1 to create, 2 to update, 1 to replace, 1 to delete; nothing was changed"):
        assert line in done.stdout.splitlines(), (line, done.stdout)
    assert files.state() == before
    kept = files.call(wanted, "--dry-run").stdout
    assert "not in the file and kept: ports/host " in kept and "- ports/host\n" not in kept, kept
    assert actions(files.apply(wanted, "--prune")) == {
        "uplinks/nic0": "update", "ports/vm1": "update", "ports/web": "replace",
        "ports/host2": "create", "ports/host": "delete"}
    assert {"web-q", "vhost1"} <= set(lab.host.links()) and "vhost0" not in lab.host.links()


def test_a_port_that_is_updated_keeps_its_device(lab, files):
    lab.nic()
    lab.start()
    files.apply(SWITCH)
    before = lab.host.links()["vm1"]["ifindex"]
    assert actions(files.apply(SWITCH.replace("00:01", "00:09"))) == {"ports/vm1": "update"}
    assert lab.host.links()["vm1"]["ifindex"] == before
    assert lab.cli("port", "show", "vm1")["macs"] == ["52:54:00:00:00:09"]


def test_addresses_change_hands(lab, files):
    """Moved along a row, the one in front goes first; in a circle, one port is replaced."""
    lab.nic()
    lab.start()

    def three(*order):
        return {"uplinks": [{"device": "nic0"}],
                "ports": [tap(f"p{i}", mac) for i, mac in enumerate(order)]}

    files.apply(three(1, 2, 3))
    plan = files.apply(three(2, 3, 4))
    assert set(actions(plan).values()) == {"update"}, plan
    assert sorted(actions(files.apply(three(3, 4, 2))).values()) == ["replace", "update", "update"]
    assert files.apply(three(3, 4, 2))["steps"] == 0


def test_an_uplink_is_replaced_with_its_ports(lab, files):
    lab.nic(queues=4)
    lab.start()
    files.apply(SWITCH)
    lab.cli("port", "add", "extra", "--tap", "extra", "--mac", frames.vm_mac(77), "--vlan", "7")
    web = lab.cli("port", "show", "web")["effectiveMacs"]
    plan = files.apply(SWITCH.replace("device: nic0", "device: nic0\n    buffersPerQueue: 8192"))
    assert actions(plan) == {name: "replace" for name in (
        "uplinks/nic0", "ports/vm1", "ports/web", "ports/host", "ports/extra")}
    assert lab.cli("uplink", "show", "nic0")["buffersPerQueue"] == 8192
    assert lab.cli("port", "show", "extra")["vlan"] == 7
    assert lab.cli("port", "show", "web")["effectiveMacs"] == web


def test_a_wrong_file_is_refused_with_line_and_key(lab, files):
    lab.nic()
    lab.start()
    before = files.state()
    for change, said in (
            (("vlan: 10", "vlna: 10"), ':9:5: ports[0]: unknown key "vlna"; did you mean vlan?'),
            (("vlan: 10", "vlan: ten"), ':9:11: ports[0].vlan: "ten" is not a number'),
            (("vlan: 10", "operStatus: UP"), "oper_status is told by vmqd and cannot be set"),
            (("name: web", "name: vm1"), ":10:11: ports[1].name: ports/vm1 is ports[0] already"),
            (("kind: veth", "kind: [veth"), "not YAML"),
            ((SWITCH, ""), "is empty; if nothing is wanted on the switch, say so: {}"),
            (("    vlan: 10", "    vlan: 10\n    uplink: nic7"),
             "ports[0].uplink: uplinks/nic7 is not in the file, and not on the switch")):
        done = files.call(SWITCH.replace(*change), "--prune")
        assert done.returncode == USAGE and done.stdout == "", done
        assert f"{files.path}" in done.stderr and said in done.stderr, (said, done.stderr)
    missing = lab.call("apply", "-f", files.path.parent / "nosuch.yaml")
    assert missing.returncode == USAGE and "nosuch.yaml" in missing.stderr, missing
    assert files.state() == before


def test_what_the_daemon_would_refuse_is_said_first(lab, files):
    """One of three steps cannot be made, and the daemon can tell beforehand: none is."""
    lab.nic()
    lab.start(uplink="nic0")
    before = files.state()
    config = {"uplinks": [{"device": "nic0"}],
              "ports": [tap("p1", 1), {"name": "p2", "kind": "netdev", "device": "nosuch",
                                       "macs": [frames.vm_mac(2)]}, tap("p3", 3, vlan=4095)]}
    for options in ((), ("--dry-run",)):
        done = files.call(config, *options)
        assert done.returncode == REFUSED and "nothing was changed" in done.stdout, done
        for words in ("cannot create ports/p2", "NO_SUCH_DEVICE", "cannot create ports/p3",
                      "VLAN_OUT_OF_RANGE"):
            assert words in done.stderr, done.stderr
        assert files.state() == before


def test_a_step_that_fails_stops_and_says_what_is_left(lab, files):
    """The uplink is not there yet, so nobody can tell beforehand what its third port meets."""
    lab.nic()
    lab.start()
    config = {"uplinks": [{"device": "nic0"}],
              "ports": [tap("p1", 1), {"name": "p2", "kind": "netdev", "device": "late",
                                       "macs": [frames.vm_mac(2)]}, tap("p3", 3)]}
    done = files.call(config)
    assert done.returncode == REFUSED, done
    assert done.stdout.splitlines() == ["[1/4] uplinks/nic0 created", "[2/4] ports/p1 created"]
    assert done.stderr.endswith("stopped after 2 of 4 steps: 2 created; not done:\n"
                                "  create ports/p2\n  create ports/p3\n"), done.stderr
    lab.host.plugged.update(("late", "late-p"))
    make_veth(lab.host, "late", "late-p")
    assert actions(files.apply(config)) == {"ports/p2": "create", "ports/p3": "create"}


def test_two_who_apply_at_once_do_not_mix(lab, files, tmp_path):
    """Whoever is overtaken is told; each port is then as one of the two wants it, as a whole."""
    lab.nic()
    lab.start()

    def config(vlan):
        return {"uplinks": [{"device": "nic0"}],
                "ports": [tap(f"p{i}", 10 * vlan + i, vlan=vlan, mtu=1400 + vlan)
                          for i in range(6)]}

    files.apply(config(1))
    paths = []
    for vlan in (2, 3):
        paths.append(tmp_path / f"{vlan}.yaml")
        paths[-1].write_text(json.dumps(config(vlan)))
    for _ in range(5):
        both = [lab.host.start(CLI, "--address", lab.daemon.address, "apply", "-f", path)
                for path in paths]
        for process in both:
            assert process.wait(60) in (OK, REFUSED)
        for port in files.export()["ports"]:
            assert port["mtu"] == 1400 + port["vlan"], port
            assert port["macs"] == [frames.vm_mac(10 * port["vlan"] + int(port["name"][1:]))]
    files.apply(config(4))
    assert {port["vlan"] for port in files.export()["ports"]} == {4}


def test_nobody_answers(lab, files):
    files.write(SWITCH)
    done = run(CLI, "--address", "unix:/nowhere/vmqd.sock", "--timeout", "2", "apply", "-f",
               files.path, check=False)
    assert done.returncode == UNREACHABLE, done


# --- any switch from any switch

NICS, QUEUES = ("nic0", "nic1"), 2


def some_uplink(rng, device):
    uplink = {"name": rng.choice((device, f"{device}.x")), "device": device}
    for field, values in (("xdpMode", ("NATIVE", "AUTO")), ("wakeMode", ("ADAPTIVE", "INTERRUPT")),
                          ("steering", ("SOFTWARE", "EXTERNAL", "HARDWARE")), ("queues", (1, 2)),
                          ("buffersPerQueue", (4096, 8192)),
                          ("balanceMode", ("DYNAMIC", "MANUAL", "STATIC")),
                          ("queueCpus", ({"0": 1}, {"0": 0}))):
        if rng.random() < 0.3:
            uplink[field] = rng.choice(values)
    return uplink


def some_port(rng, index, uplinks, macs):
    name, kind = f"p{index}", rng.choice(("TAP", "TAP", "VETH", "HOST", "NETDEV"))
    uplink = rng.choice(uplinks)
    port = {"name": name, "kind": kind}
    if len(uplinks) > 1 or rng.random() < 0.5:
        port["uplink"] = uplink["name"]
    if kind in ("VETH", "HOST"):
        port["peerDevice"] = f"{name}-peer{rng.randrange(2)}"
        if rng.random() < 0.5:
            port["device"] = f"{name}-kept"
    else:
        port["device"] = f"{name}-net" if kind == "NETDEV" else f"{name}-tap{rng.randrange(2)}"
    if kind in ("TAP", "NETDEV") or rng.random() < 0.5:
        port["macs"] = sorted(macs.pop() for _ in range(rng.randint(1, 2)))
    for field, value in (("vlan", rng.choice((10, 20))), ("weight", rng.randrange(100)),
                         ("queue", rng.randrange(uplink.get("queues", QUEUES))),
                         ("trusted", True), ("disabled", True), ("mtu", rng.choice((1000, 1400)))):
        if rng.random() < 0.3:
            port[field] = value
    return port


def some_switch(rng):
    uplinks = [some_uplink(rng, device) for device in rng.sample(NICS, rng.randint(1, 2))]
    macs = [frames.vm_mac(i) for i in range(12)]  # few, so that they often change hands
    rng.shuffle(macs)
    ports = [some_port(rng, i, uplinks, macs) for i in rng.sample(range(8), rng.randint(0, 6))]
    return {"uplinks": uplinks, "ports": ports}


def said(config, exported):
    """Both without what vmqd chose, by name, in a form that compares."""
    chosen = {port["name"]: {field for field in CHOSEN if field not in port}
              for port in config.get("ports", [])}
    defaults = {"xdpMode": "NATIVE", "wakeMode": "ADAPTIVE", "steering": "SOFTWARE",
                "balanceMode": "DYNAMIC"}

    def spell(item, leave_out=()):
        return {field: sorted(value) if isinstance(value, list) else value
                for field, value in item.items()
                if field not in leave_out and defaults.get(field) != value}

    def spelt(whole):
        return {kind: {item["name"]: spell(item, chosen.get(item["name"], ())
                                           if kind == "ports" else ())
                       for item in whole.get(kind, [])} for kind in ("uplinks", "ports")}

    return spelt(config), spelt(exported)


@pytest.mark.parametrize("seed", range(8))
def test_any_switch_from_any_switch(lab, files, seed):
    """Six random switches in a row: applied with --prune, each is what export then says."""
    rng = random.Random(seed)
    for device in NICS:
        lab.nic(device, QUEUES, f"02:00:00:00:ff:0{device[-1]}")
    for i in range(8):
        lab.host.plugged.update((f"p{i}-net", f"p{i}-net-p"))
        make_veth(lab.host, f"p{i}-net", f"p{i}-net-p")
    lab.start()
    for _ in range(6):
        config = some_switch(rng)
        files.apply(config, "--dry-run", "--prune")
        files.apply(config, "--prune")
        wanted, exported = said(config, files.export())
        assert exported == wanted
        assert files.apply(config, "--prune")["steps"] == 0
        assert files.apply(files.export(), "--prune")["steps"] == 0
