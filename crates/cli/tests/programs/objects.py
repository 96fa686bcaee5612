"""Builds lists, dicts and bytes of about 300 MiB, or the given times that, sorts them and prints digests."""
import hashlib
import sys

times = int(sys.argv[1])

state = 7


def number():
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return state >> 20


blocks = [number().to_bytes(8, "little") * (1 << 15) for _ in range(700 * times)]
numbers = [number() for _ in range(600_000 * times)]
words = {f"key {n}": n for n in numbers}
digest = hashlib.sha256()
for block in blocks:
    digest.update(block)
for n in sorted(numbers):
    digest.update(n.to_bytes(8, "little"))
for key in sorted(words)[:100_000]:
    digest.update(key.encode())
print(len(words), digest.hexdigest())
