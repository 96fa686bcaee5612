"""Forks, executes and waits while most of its memory is in the store; children fork as well,
write, and outlive their parents."""
import hashlib
import os
import subprocess

blocks = [bytearray((b"%08d" % i) * (1 << 17)) for i in range(280)]


def digest():
    total = hashlib.sha256()
    for block in blocks:
        total.update(block)
    return total.hexdigest()


before = digest()
for turn in range(3):
    # preexec_fn makes the child run Python between fork and exec.
    done = subprocess.run(["echo", str(turn)], capture_output=True, preexec_fn=os.getpid, check=True)
    assert done.stdout == b"%d\n" % turn
assert subprocess.run("exit 3", shell=True).returncode == 3
assert os.system("exit 4") == 4 << 8
assert os.popen("echo popen").read() == "popen\n"
assert os.spawnlp(os.P_WAIT, "true", "true") == 0


def in_child(work):
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    return os.waitpid(child, 0)[1] == 0


def rewrite():
    for block in blocks[::3]:
        block[5] ^= 0xFF
    return digest() != before and in_child(lambda: digest() != before) and digest() != before


assert in_child(lambda: digest() == before)
assert in_child(lambda: in_child(lambda: in_child(lambda: digest() == before)))
assert in_child(rewrite)
assert digest() == before
# What the child has and its parent has given up stays the child's.
heirs = []
for _ in range(2):
    reader, writer = os.pipe()
    answer, done = os.pipe()
    if os.fork() == 0:
        os.read(reader, 1)
        os.write(done, b"y" if digest() == before else b"n")
        os._exit(0)
    heirs.append((writer, answer))
kept = [bytes(block[:8]) for block in blocks]
for block in blocks:
    block[:] = bytes(len(block))
blocks = [bytearray(os.urandom(1 << 20)) for _ in range(280)]
ours = digest()
for writer, answer in heirs:
    os.write(writer, b"g")
    assert os.read(answer, 1) == b"y"
    os.wait()
assert digest() == ours
# A daemon: its parents have ended before it looks.
reader, writer = os.pipe()
middle = os.fork()
if middle == 0:
    if os.fork() == 0:
        os.close(reader)
        while os.getppid() == middle:
            pass
        os.write(writer, b"y" if digest() == ours else b"n")
        os._exit(0)
    os._exit(0)
os.close(writer)
os.waitpid(middle, 0)
assert os.read(reader, 1) == b"y"
print("parents and children kept every byte")
