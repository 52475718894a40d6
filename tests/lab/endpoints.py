"""What is plugged into the switch from outside: the NIC stand-in and the VMs.

Nic is hardware made of a multi-queue tap: the test process holds one descriptor per queue, writes
each frame to the queue its own MAC table says, and reads what vmqd transmits. TapVm opens a tap
port as a VMM does. PacketVm is a packet socket on the far end of a veth. One thread, the Inbox,
reads them all; tests send from their own thread and look at `frames` at any time. What must stay
true: an endpoint that is not registered with the Inbox is never read, which makes a stalled VM.
"""

import collections
import fcntl
import os
import select
import socket
import struct
import threading
import time

from tests.lab import frames

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x4000, 0x0100
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
VNET = struct.Struct("<BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
NEEDS_CSUM = 1
GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 0, 1, 4, 5
NO_OFFLOAD = VNET.pack(0, GSO_NONE, 0, 0, 0, 0)
ETH_P_ALL, SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 3, 263, 8, 4
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
MAX_FRAME = 70000

Received = collections.namedtuple("Received", "frame queue header")


class Inbox:
    """The one reading thread of a lab."""

    def __init__(self):
        self._epoll = select.epoll()
        self._readers = {}
        self._lock = threading.Lock()  # nothing is removed, and then closed, while it is being read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="inbox", daemon=True)
        self._thread.start()

    def add(self, descriptor, read):
        """`read()` takes one frame, or raises BlockingIOError."""
        self._readers[descriptor] = read
        self._epoll.register(descriptor, select.EPOLLIN)

    def remove(self, descriptor):
        with self._lock:
            if self._readers.pop(descriptor, None):
                self._epoll.unregister(descriptor)

    def close(self):
        self._stop.set()
        self._thread.join()
        self._epoll.close()

    def _loop(self):
        while not self._stop.is_set():
            for descriptor, _ in self._epoll.poll(0.05):
                with self._lock:
                    self._drain(self._readers.get(descriptor))

    @staticmethod
    def _drain(read):
        try:
            for _ in range(64 if read else 0):
                read()
        except OSError:  # nothing left; or the device went away, which the test notices
            pass


class Endpoint:
    """What every kind has: received frames, and ways to wait for them."""

    def __init__(self, inbox):
        self.inbox = inbox
        self.frames = []  # of Received; appended by the Inbox only
        self._flows = collections.defaultdict(list)

    def _keep(self, frame, queue=0, header=None):
        number = frames.number_of(frame)
        if number:
            self._flows[number[0]].append(number[1])
        self.frames.append(Received(frame, queue, header))

    def flow(self, flow):
        """The sequence numbers received of one flow, in order of arrival."""
        return list(self._flows[flow])

    def wait_flow(self, flow, count, timeout=5):
        """The numbers received once there are `count`, or when time is up."""
        wait_until(lambda: len(self._flows[flow]) >= count, timeout, check=False)
        return self.flow(flow)

    def expect(self, predicate, timeout=5):
        """The first received frame, as Received, whose frame meets the predicate."""
        found = []

        def look():
            found.extend(item for item in self.frames if predicate(item.frame))
            return found

        wait_until(look, timeout, check=False)
        assert found, f"no such frame within {timeout} s, {len(self.frames)} others"
        return found[0]

    def send_flow(self, dst, src, flow, count, rate=20000, first=0, **kwargs):
        """Sends `count` numbered frames at about `rate` frames a second."""
        start = time.monotonic()
        for index in range(count):
            self.send(frames.numbered(dst, src, flow, first + index), **kwargs)
            ahead = index / rate - (time.monotonic() - start)
            if ahead > 0.001:
                time.sleep(ahead)


class Nic(Endpoint):
    """The NIC stand-in. `table` is its filter hardware: destination MAC -> queue, else queue 0."""

    def __init__(self, inbox, namespace, name, queues=4):
        super().__init__(inbox)
        self.namespace, self.name = namespace, name
        self.table = {}
        with namespace.entered():
            self.descriptors = [open_tap(name, IFF_MULTI_QUEUE) for _ in range(queues)]
        namespace.up(name)
        for queue, descriptor in enumerate(self.descriptors):
            inbox.add(descriptor,
                      lambda d=descriptor, q=queue: self._keep(os.read(d, MAX_FRAME), q))

    def send(self, frame, queue=None):
        if queue is None:
            queue = self.table.get(frame[:6], 0)
        os.write(self.descriptors[queue], frame)

    def steer(self, mac, queue):
        self.table[frames.mac_bytes(mac)] = queue

    def stall(self):
        """Nobody empties the hardware's transmit queues any more."""
        for descriptor in self.descriptors:
            self.inbox.remove(descriptor)

    def close(self):
        self.stall()
        for descriptor in self.descriptors:
            os.close(descriptor)


class TapVm(Endpoint):
    """A VM whose VMM opened the tap port `device`."""

    def __init__(self, inbox, namespace, device, mac, offloads=0, reading=True):
        super().__init__(inbox)
        self.device, self.mac = device, mac
        with namespace.entered():
            self.descriptor = open_tap(device, IFF_VNET_HDR)
        fcntl.ioctl(self.descriptor, TUNSETOFFLOAD, offloads)
        if reading:
            inbox.add(self.descriptor, self._read)

    def _read(self):
        data = os.read(self.descriptor, MAX_FRAME)
        self._keep(data[VNET.size:], header=VNET.unpack_from(data))

    def send(self, frame, header=NO_OFFLOAD):
        os.write(self.descriptor, header + frame)

    def read_again(self):
        self.inbox.add(self.descriptor, self._read)

    def close(self):
        if self.descriptor is not None:
            self.inbox.remove(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = None


class PacketVm(Endpoint):
    """A container or the host, at its own interface. Puts back the tag the kernel takes off."""

    def __init__(self, inbox, namespace, device, mac=None):
        super().__init__(inbox)
        self.namespace, self.device, self.mac = namespace, device, mac
        with namespace.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                                        socket.htons(ETH_P_ALL))
            self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            self.socket.bind((device, ETH_P_ALL))
        inbox.add(self.socket.fileno(), self._read)

    def _read(self):
        data, extra, _, _ = self.socket.recvmsg(MAX_FRAME, 256)
        for level, kind, value in extra:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", value)
                if status & 0x10:  # TP_STATUS_VLAN_VALID
                    data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        self._keep(data)

    def send(self, frame):
        self.socket.send(frame)

    def close(self):
        self.inbox.remove(self.socket.fileno())
        self.socket.close()


def open_tap(name, flags):
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | flags)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def wait_until(condition, timeout=5, interval=0.01, check=True, what="condition"):
    """Waits for condition() to be true; returns its last value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value or time.monotonic() > end:
            assert value or not check, f"{what} did not hold within {timeout} s"
            return value
        time.sleep(interval)
