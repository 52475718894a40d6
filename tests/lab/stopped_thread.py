"""Holds one thread of a process still, so that a test can fill the rings only that thread empties.

Uses ptrace from the thread of the test; the kernel wants the same thread to let go again. What must
stay true: the thread runs on when the context ends.
"""

import ctypes
import os


class StoppedThread:
    """Context: the thread of `process` called `name` stands still, all others run."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, process, name):
        tasks = f"/proc/{process}/task"
        names = {}
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm") as file:
                names[file.read().strip()] = int(task)
        assert name in names, f"no thread {name!r}; there are {sorted(names)}"
        self.task = names[name]
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]

    def __enter__(self):
        self._call(self.SEIZE)
        self._call(self.INTERRUPT)
        os.waitpid(self.task, self.WALL)
        return self

    def __exit__(self, *_):
        self._call(self.DETACH)

    def _call(self, request):
        if self.ptrace(request, self.task, None, None):
            raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")
