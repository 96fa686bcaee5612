"""Builds an inverted index of generated text: about 1 GiB of Python objects.

    outcore run --ram 256M -- python3 examples/inverted_index.py
"""
import hashlib
import sys

DOCUMENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 180_000
WORDS = 50_000
state = 1


def number(limit):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % limit


index = {}
texts = []
for document in range(DOCUMENTS):
    words = [f"word{number(WORDS)}" for _ in range(6)]
    texts.append(" ".join(words) + " " + words[0] * 600)
    for word in words:
        index.setdefault(word, []).append(document)

digest = hashlib.sha256()
for word in sorted(index):
    digest.update(f"{word}:{len(index[word])}".encode())
for text in texts:
    digest.update(text.encode())
size = sum(map(len, texts)) >> 20
print(f"{DOCUMENTS} documents, {size} MiB of text, {len(index)} words, digest {digest.hexdigest()[:16]}")
