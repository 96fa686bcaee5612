/* Fills 96 MiB that can be paged, and rests; then 32 MiB that cannot, without a look at the others, and rests. Says what
   is resident in the end, in MiB. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *filled(size_t bytes, int flags) {
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    for (size_t at = 0; at < bytes; at += 8) *(size_t *)(memory + at) = at * 0x9e3779b97f4a7c15u;
    return memory;
}

int main(void) {
    if (!filled(96 << 20, MAP_PRIVATE)) return perror("mmap"), 1;
    sleep(1);
    if (!filled(32 << 20, MAP_SHARED)) return perror("mmap"), 1;
    sleep(2);
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%*d %ld", &pages) != 1) return perror("statm"), 1;
    printf("%ld\n", pages >> 8);
}
