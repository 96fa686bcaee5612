"""Forks, executes and waits while most of its memory is in the store."""
import hashlib
import os
import subprocess

blocks = [(b"%08d" % i) * (1 << 17) for i in range(280)]


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
assert os.spawnlp(os.P_WAIT, "true", "true") == 0
child = os.fork()
if child == 0:
    os._exit(0 if digest() == before else 1)
assert os.waitpid(child, 0)[1] == 0
# A child of a child has what was in memory, and is stopped where it has not.
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild == 0:
        os._exit(0 if digest() == before else 1)
    status = os.waitpid(grandchild, 0)[1]
    os._exit(0 if status in (0, 9) else 1)
assert os.waitpid(child, 0)[1] == 0
assert digest() == before
print("parent and children kept every byte")
