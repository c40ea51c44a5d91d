"""The programs with a memory that fails when a test says so: tests/nomem/nomem.c, `make nomem-build`."""

import mmap
import struct

from tests.lib.hub import BUILD

OWN = ("program", "libjansson")  # all of whose allocations silodns has to survive
SIZE, FAILED, LASTING, WHOSE = 256, 8, 16, 24


def program(name):
    path = BUILD / "tests/nomem" / name
    assert path.exists(), "make nomem-build"
    return path


class Memory:
    """Of the program that `wrapper` is put in front of."""

    def __init__(self, path, whose=OWN):
        path.write_bytes(bytes(SIZE))
        with open(path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), SIZE)
        self.wrapper = ["env", f"NOMEM_CONTROL={path}"]
        self.of(*whose)

    def of(self, *whose):
        """Whose allocations count: "program", or the beginning of a library's file name."""
        self.fail(0)
        names = "".join(f"{name} " for name in whose).encode()
        self.shared[WHOSE:] = names + bytes(SIZE - WHOSE - len(names))

    def fail(self, until, lasting=False):
        """The allocation after so many from now, and all behind it, if that lasts; none from now on, if it is 0."""
        struct.pack_into("q", self.shared, 0, 0)
        struct.pack_into("q", self.shared, LASTING, lasting)
        struct.pack_into("q", self.shared, 0, until)

    def failed(self):
        return struct.unpack_from("q", self.shared, FAILED)[0]
