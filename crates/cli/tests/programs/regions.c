/* Regions that are read, checked and written at random. Usage: regions COUNT MIB STEPS */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 42;

static uint64_t next(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 11;
}

int main(int argc, char **argv) {
    if (argc != 4) { fprintf(stderr, "usage: regions COUNT MIB STEPS\n"); return 2; }
    size_t count = strtoul(argv[1], NULL, 10), pages = strtoul(argv[2], NULL, 10) * 256;
    long steps = atol(argv[3]);
    uint64_t **regions = malloc(count * sizeof *regions);
    uint64_t *wanted = malloc(count * pages * sizeof *wanted);
    for (size_t r = 0; r < count; r++) {
        regions[r] = malloc(pages * 4096);
        for (size_t p = 0; p < pages; p++)
            regions[r][p * 512 + p % 512] = wanted[r * pages + p] = next();
    }
    for (long step = 0; step < steps; step++) {
        size_t r = next() % count, p = next() % pages;
        uint64_t *word = &regions[r][p * 512 + p % 512];
        if (*word != wanted[r * pages + p]) {
            fprintf(stderr, "step %ld: region %zu page %zu is wrong\n", step, r, p);
            return 1;
        }
        *word = wanted[r * pages + p] = next();
    }
    for (size_t r = 0; r < count; r++)
        for (size_t p = 0; p < pages; p++)
            for (size_t i = 0; i < 512; i++)
                if (regions[r][p * 512 + i] != (i == p % 512 ? wanted[r * pages + p] : 0)) return 1;
    puts("every step was exact");
    return 0;
}
