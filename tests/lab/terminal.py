"""A program on a terminal of its own, and what a person would see there.

Used by the thread of a test. What must stay true: screen() is what the terminal shows now, in the
size it has now; finish() ends the program only if it did not end by itself.
"""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

import pyte


class Terminal:
    def __init__(self, *words, columns=80, rows=24):
        self.display = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.display)
        self.raw = b""  # all that was written to it
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
            os.environ.pop("COLUMNS", None), os.environ.pop("LINES", None)
            time.sleep(0.2)  # the size is set before anybody asks for it
            os.execv(words[0], [str(word) for word in words])
        self.settings = termios.tcgetattr(self.terminal)
        self.resize(columns, rows)

    def resize(self, columns, rows):
        self.display.resize(rows, columns)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def screen(self, wait=0.05):
        """Lines, without the blanks at their ends."""
        while select.select([self.terminal], [], [], wait)[0]:
            try:
                data = os.read(self.terminal, 65536)
            except OSError:  # the program has ended
                break
            if not data:
                break
            self.raw += data
            self.stream.feed(data)
        return [line.rstrip() for line in self.display.display]

    def wait(self, timeout=20):
        """The exit code of the program, which ends by itself."""
        end = time.monotonic() + timeout
        while (done := os.waitpid(self.pid, os.WNOHANG))[0] == 0:
            assert time.monotonic() < end, "\n".join(self.screen())
            self.screen()
        self.pid = None
        self.screen()
        return os.waitstatus_to_exitcode(done[1])

    def is_as_before(self):
        """Echo, line editing and the like are as they were; the other screen and cursor are back."""
        return (termios.tcgetattr(self.terminal) == self.settings
                and self.raw.count(b"\x1b[?1049h") == self.raw.count(b"\x1b[?1049l")
                and self.raw.rfind(b"\x1b[?25h") >= self.raw.rfind(b"\x1b[?25l"))

    def finish(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)
