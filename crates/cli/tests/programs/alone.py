"""Fills more memory than it has, is found to have one thread, and goes on as it is told.

Usage: alone.py TOKEN (check | exec | wait)
"""

import ctypes
import os
import struct
import sys
import time
import warnings

CLONE_THREAD = 0x00010000
PR_SET_NO_NEW_PRIVS = 38
SYS_SECCOMP = 317
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1


def forbid(numbers):
    """Makes these system calls fail in every thread of the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, give = 0x20, 0x15, 0x06
    program = [(load, 0, 0, 0)]
    program += [(equal, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    program += [(give, 0, 0, 0x7FFF0000), (give, 0, 0, 0x00050001)]
    code = b"".join(struct.pack("=HBBI", *step) for step in program)
    filters = struct.pack("=Hxxxxxx", len(program)) + struct.pack("=Q", ctypes.addressof(keep(code)))
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    return libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, filters)


def keep(code, kept=[]):
    kept.append(ctypes.create_string_buffer(code))
    return kept[-1]


def companions(token):
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline") as file:
                arguments = file.read().split("\0")
            with open(f"/proc/{number}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue
        if token in arguments and name.startswith("outcore-"):
            found.append(name)
    return sorted(found)


token, mode = sys.argv[1:]
if mode == "successor":
    # This is another program now, in another memory: nobody serves the old one.
    token = token.removeprefix("after-")
    deadline = time.monotonic() + 10
    while companions(token) and time.monotonic() < deadline:
        time.sleep(0.01)
    print(companions(token))
    sys.exit()

blocks = [bytes([i % 251]) * (1 << 20) for i in range(160)]
if mode == "exec":
    os.execv(sys.executable, [sys.executable, __file__, "after-" + token, "successor"])
if mode == "wait":
    print("full", flush=True)
    sys.stdin.read()
    assert all(block == bytes([i % 251]) * (1 << 20) for i, block in enumerate(blocks))
    print("right")
    sys.exit()

with open("/proc/self/status") as file:
    print(next(line for line in file if line.startswith("Threads")).split()[1], "thread")
# Succeeds for a process of one thread only.
print("unshare", ctypes.CDLL(None).unshare(CLONE_THREAD))
# Says that a fork of a program with threads may deadlock, since Python 3.12.
warnings.simplefilter("error")
child = os.fork()
if child == 0:
    os._exit(0 if blocks[0][0] == 0 and blocks[159][5] == 159 else 1)
print("child", os.waitpid(child, 0)[1])
try:
    print("another child", os.waitpid(-1, 0x40000000))  # __WALL
except ChildProcessError:
    print("no other child")
print("descriptors", sorted(os.listdir("/proc/self/fd")))
# What the pager needs: ioctl, poll and io_uring_enter. It is another process.
print("filter", forbid([16, 7, 426]))
print("right", all(block == bytes([i % 251]) * (1 << 20) for i, block in enumerate(blocks)))
