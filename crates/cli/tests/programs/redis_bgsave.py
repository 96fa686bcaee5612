"""Loads redis-server, has it save in the background while it is written to, and loads what it
has saved into a redis-server without Outcore: it holds what there was when the save began."""
import os
import socket
import subprocess
import sys
import time

directory = sys.argv[1]
COUNT, BATCH = 75_000 * int(sys.argv[2]), 500


def server(name, environment):
    path = os.path.join(directory, name)
    words = ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"]
    words += ["--dir", directory, "--rdbcompression", "no", "--stop-writes-on-bgsave-error", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 100
    while True:
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            stream = connection.makefile("rwb")
            stream.write(request(b"PING"))
            stream.flush()
            if stream.readline() == b"+PONG\r\n":
                return process, stream
        except OSError:
            pass
        assert time.monotonic() < deadline and process.poll() is None, "the server did not start"
        time.sleep(0.05)


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def value(key, version):
    return (b"%08d" % (key * 7919 + version)) * 500


def write(stream, keys, version):
    keys = list(keys)
    stream.write(b"".join(request(b"SET", b"key%d" % key, value(key, version)) for key in keys))
    stream.flush()
    for _ in keys:
        assert stream.readline() == b"+OK\r\n"


def check(stream, version_of):
    for start in range(0, COUNT, BATCH):
        stream.write(b"".join(request(b"GET", b"key%d" % k) for k in range(start, start + BATCH)))
        stream.flush()
        for key in range(start, start + BATCH):
            length = int(stream.readline()[1:])
            assert stream.read(length + 2)[:-2] == value(key, version_of(key)), key


def is_saving(stream):
    stream.write(request(b"INFO", b"persistence"))
    stream.flush()
    text = stream.read(int(stream.readline()[1:]) + 2)
    if b"rdb_bgsave_in_progress:1" in text:
        return True
    assert b"rdb_last_bgsave_status:ok" in text, text
    return False


process, stream = server("paged", None)
for start in range(0, COUNT, BATCH):
    write(stream, range(start, start + BATCH), 0)
stream.write(request(b"BGSAVE"))
stream.flush()
assert stream.readline() == b"+Background saving started\r\n"
written = 0
while is_saving(stream) and written < COUNT // 2:
    write(stream, range(written, written + BATCH), 1)
    written += BATCH
while is_saving(stream):
    time.sleep(0.05)
assert written > 0, "nothing was written while it saved"
check(stream, lambda key: 1 if key < written else 0)
stream.write(request(b"SHUTDOWN", b"NOSAVE"))
stream.flush()
process.wait()
plain = {name: word for name, word in os.environ.items() if not name.startswith(("OUTCORE_", "LD_"))}
process, stream = server("plain", plain)
check(stream, lambda key: 0)
stream.write(request(b"SHUTDOWN", b"NOSAVE"))
stream.flush()
process.wait()
print("saved as it was, and every value came back")
