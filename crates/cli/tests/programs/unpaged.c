/* Fills 64 MiB of memory that is mapped shared, and needs hardly any other. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int main(void) {
    enum { BYTES = 64 << 20 };
    char *shared = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return perror("mmap"), 1;
    memset(shared, 1, BYTES);
    return shared[BYTES - 1] != 1;
}
