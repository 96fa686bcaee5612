/* Eight threads that allocate, map, move, grow, discard and free at random, and
 * check every byte against what they wrote. Usage: churn THREADS MIB STEPS SEED */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCKS = 64 };
enum kind { NONE, HEAP, MAPPED };

struct block {
    enum kind kind;
    uint64_t *words;
    size_t bytes;
    uint64_t seed;
};

static size_t thread_bytes;
static long steps;
static uint64_t first_seed;

static uint64_t next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t word(const struct block *b, size_t i) { return b->seed * (i * 2 + 1) + i; }

static void fail(const char *what, const struct block *b, size_t i, uint64_t got) {
    fprintf(stderr, "%s: word %zu of %zu bytes at %p is %llx, not %llx\n", what, i, b->bytes, (void *)b->words,
            (unsigned long long)got, (unsigned long long)word(b, i));
    abort();
}

static void fill(struct block *b, size_t from) {
    for (size_t i = from; i < b->bytes / 8; i++) b->words[i] = word(b, i);
}

static void check(const struct block *b, size_t bytes) {
    for (size_t i = 0; i < bytes / 8; i++)
        if (b->words[i] != word(b, i)) fail("check", b, i, b->words[i]);
}

static void release(struct block *b) {
    if (b->kind == HEAP) free(b->words);
    else if (b->kind == MAPPED && munmap(b->words, b->bytes) != 0) { perror("munmap"); abort(); }
    b->kind = NONE;
}

static void obtain(struct block *b, uint64_t *random) {
    size_t most = thread_bytes / BLOCKS * 2;
    b->bytes = (64 + next(random) % most) & ~(size_t)7;
    b->seed = next(random);
    if (next(random) % 2) {
        b->kind = HEAP;
        b->words = next(random) % 2 ? calloc(1, b->bytes) : malloc(b->bytes);
    } else {
        b->kind = MAPPED;
        b->bytes = (b->bytes + 4095) & ~(size_t)4095;
        b->words = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    if (b->words == NULL || b->words == MAP_FAILED) { perror("allocate"); abort(); }
    if (b->kind == MAPPED)
        for (size_t i = 0; i < b->bytes / 8; i += 512)
            if (b->words[i]) fail("fresh", b, i, b->words[i]);
    fill(b, 0);
}

static void resize(struct block *b, uint64_t *random) {
    size_t old = b->bytes, new = (64 + next(random) % (old * 2)) & ~(size_t)7;
    if (b->kind == HEAP) {
        b->words = realloc(b->words, new);
    } else {
        new = (new + 4095) & ~(size_t)4095;
        b->words = mremap(b->words, old, new, MREMAP_MAYMOVE);
    }
    if (b->words == NULL || b->words == MAP_FAILED) { perror("resize"); abort(); }
    b->bytes = new;
    check(b, old < new ? old : new);
    if (new > old) fill(b, old / 8);
}

static void discard(struct block *b) {
    size_t half = b->bytes / 2 & ~(size_t)4095;
    if (b->kind != MAPPED || half == 0) return;
    if (madvise(b->words, half, MADV_DONTNEED) != 0) { perror("madvise"); abort(); }
    for (size_t i = 0; i < half / 8; i++)
        if (b->words[i]) fail("discarded", b, i, b->words[i]);
    fill(b, 0);
}

static void protect(struct block *b) {
    if (b->kind != MAPPED) return;
    if (mprotect(b->words, b->bytes, PROT_READ) != 0) { perror("mprotect"); abort(); }
    check(b, b->bytes);
    if (mprotect(b->words, b->bytes, PROT_READ | PROT_WRITE) != 0) { perror("mprotect"); abort(); }
}

static void *churn(void *argument) {
    uint64_t random = first_seed + (uint64_t)(uintptr_t)argument;
    struct block blocks[BLOCKS] = {{0}};
    for (size_t i = 0; i < BLOCKS; i++) obtain(&blocks[i], &random);
    for (long step = 0; step < steps; step++) {
        struct block *b = &blocks[next(&random) % BLOCKS];
        switch (next(&random) % 8) {
        case 0: release(b); obtain(b, &random); break;
        case 1: resize(b, &random); break;
        case 2: discard(b); break;
        case 3: protect(b); break;
        case 4: b->seed = next(&random); fill(b, 0); break;
        default: check(b, b->bytes);
        }
        if (b->bytes > thread_bytes / BLOCKS * 4) { release(b); obtain(b, &random); }
    }
    for (size_t i = 0; i < BLOCKS; i++) { check(&blocks[i], blocks[i].bytes); release(&blocks[i]); }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5) { fprintf(stderr, "usage: churn THREADS MIB STEPS SEED\n"); return 2; }
    long threads = atol(argv[1]);
    thread_bytes = (size_t)atol(argv[2]) * 1048576 / threads;
    steps = atol(argv[3]);
    first_seed = strtoull(argv[4], NULL, 10) * 1000;
    pthread_t ids[64];
    for (long i = 0; i < threads; i++) pthread_create(&ids[i], NULL, churn, (void *)(uintptr_t)i);
    for (long i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    puts("every byte was right");
    return 0;
}
