"""Works on a file of 64-bit integers by numpy.memmap: memmap.py make|read|own|mine|change FILE MIB."""
import hashlib
import sys

import numpy

mode, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3]) * (1 << 20) // 8
block = 1 << 18
random = numpy.random.default_rng(7)
places = random.integers(0, count, 100_000)


def make():
    """A new file, written in order."""
    numbers = numpy.memmap(path, dtype=numpy.int64, mode="w+", shape=(count,))
    for start in range(0, count, block):
        numbers[start : start + block] = random.integers(-(1 << 62), 1 << 62, block)
    numbers.flush()


def read(kind="r"):
    """In order, backwards, at random, by columns that are far apart, and by others than numpy."""
    numbers = numpy.memmap(path, dtype=numpy.int64, mode=kind)
    print("sums", int(numbers.min()), int(numbers.max()), int((numbers[::-1] & 0xFF).sum()))
    print("at random", int(numbers[places].astype(numpy.float64).sum()))
    matrix = numbers.reshape(1024, -1)
    print("columns", [int(matrix[:, column].max()) for column in range(0, matrix.shape[1], 4099)])
    total = 0
    for start in range(0, count, block):
        part = numbers[start : start + block]
        total ^= int(numpy.bitwise_xor.reduce(part[part > part.mean()], initial=0))
    print("above the mean", total)
    print("bytes", hashlib.sha256(numbers).hexdigest())


def mine():
    """All of it, for this program alone."""
    numbers = numpy.memmap(path, dtype=numpy.int64, mode="c")
    for start in range(0, count, block):
        numbers[start : start + block] ^= start
    numbers[places] = numpy.arange(places.size)
    print("mine", int(numbers[::-7].sum()), hashlib.sha256(numbers).hexdigest())
    print("the file", hashlib.sha256(numpy.memmap(path, dtype=numpy.int64, mode="r")).hexdigest())


def change():
    """In place, while it is mapped for reading, and for this program alone."""
    before = numpy.memmap(path, dtype=numpy.int64, mode="r")
    print("before", int(before[places].sum()))
    numbers = numpy.memmap(path, dtype=numpy.int64, mode="r+")
    for start in range(0, count, block):
        numbers[start : start + block].sort()
    numbers[places] = numpy.arange(places.size)
    print("both", int(before[places].sum()), int(before[:: block + 1].sum()), bool((before[:block] == numbers[:block]).all()))
    numbers.flush()
    del numbers
    mine = numpy.memmap(path, dtype=numpy.int64, mode="c")
    mine[: 1 << 18] += 1
    mine[places[:64]] = -1
    print("own", *(int((those[::511] & 0xFFFF).sum()) for those in (mine, before)))
    assert int(mine[0]) == int(before[0]) + 1
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    print("the file", digest.hexdigest())


{"make": make, "read": read, "own": lambda: read("c"), "mine": mine, "change": change}[mode]()
