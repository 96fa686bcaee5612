/* Touches 32 768 pages that lie evenly over so many GiB, in no order, and reads them all again. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGES = 32768 };

int main(int argc, char **argv)
{
    size_t bytes = strtoull(argv[argc - 1], NULL, 10) << 30, step = bytes / PAGES;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    uint64_t wrong = 0;
    for (int pass = 0; pass < 2; pass++)
        for (uint64_t n = 0; n < PAGES; n++) {
            /* An odd number is coprime to a power of two: each page once. */
            uint64_t *word = (uint64_t *)(memory + n * 0x9e3779b1 % PAGES * step);
            if (pass == 0)
                *word = n + 1;
            else
                wrong += *word != n + 1;
        }
    printf("%lu wrong words\n", wrong);
    return 0;
}
