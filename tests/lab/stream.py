"""Traffic that goes on while a test does something else."""

import threading

from tests.lab import frames


class Stream(threading.Thread):
    """Numbered frames, about `rate` a second, from one end until told to stop."""

    def __init__(self, sender, dst, src, flow, rate=200):
        super().__init__(daemon=True)
        self.sender, self.dst, self.src, self.flow = sender, dst, src, flow
        self.pause, self.sent, self.done = 1 / rate, 0, threading.Event()
        self.error = None
        self.start()

    def run(self):
        try:
            while not self.done.wait(self.pause):
                self.sender.send(frames.numbered(self.dst, self.src, self.flow, self.sent))
                self.sent += 1
        except OSError as error:
            self.error = error

    def stop(self):
        self.done.set()
        self.join()
        assert self.error is None, f"flow {self.flow}: {self.error}"
