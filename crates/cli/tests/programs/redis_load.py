"""Starts redis-server on a socket, loads it, and reads every value back."""
import socket
import subprocess
import sys
import time

path = sys.argv[1]
server = subprocess.Popen(
    ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"],
    stdout=subprocess.DEVNULL,
)
connection = socket.socket(socket.AF_UNIX)
deadline = time.monotonic() + 60
while True:
    try:
        connection.connect(path)
        break
    except OSError:
        assert time.monotonic() < deadline and server.poll() is None, "the server did not start"
        time.sleep(0.01)
stream = connection.makefile("rwb")
COUNT, BATCH = 75_000 * int(sys.argv[2]), 500


def value(key):
    return (b"%08d" % (key * 7919)) * 500


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


for start in range(0, COUNT, BATCH):
    stream.write(b"".join(request(b"SET", b"key%d" % k, value(k)) for k in range(start, start + BATCH)))
    stream.flush()
    for _ in range(BATCH):
        assert stream.readline() == b"+OK\r\n"
for start in range(0, COUNT, BATCH):
    stream.write(b"".join(request(b"GET", b"key%d" % k) for k in range(start, start + BATCH)))
    stream.flush()
    for key in range(start, start + BATCH):
        length = int(stream.readline()[1:])
        assert stream.read(length + 2)[:-2] == value(key), key
stream.write(request(b"SHUTDOWN", b"NOSAVE"))
stream.flush()
server.wait()
print("every value came back")
