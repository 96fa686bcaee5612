/* Works in static arrays, of which MIB megabytes are used: fills them, has a forked child change and
 * check them, and checks that this has not reached them here. Large ones that hold nothing but zeros
 * are read as well. Linked with kept.c as a shared library. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 128 << 17 };

static uint64_t table[MOST];
static const char *unused[1 << 20];
uint64_t given[4] = {1, 2, 3, 4};
extern int kept[1 << 20];

static uint64_t word(uint64_t i, uint64_t salt) { return (i + salt) * 0x9e3779b97f4a7c15u; }

static uint64_t check(uint64_t words, uint64_t salt) {
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < words; i++) wrong += table[i] != word(i, salt);
    for (uint64_t i = words; i < MOST; i += 512) wrong += table[i] != 0;
    return wrong;
}

/* Whether faults of an address are served by a userfaultfd: "um" among the flags of its mapping. */
static int is_served(const void *address) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[4096];
    int is_here = 0, served = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        uintptr_t from, to;
        if (sscanf(line, "%jx-%jx ", (uintmax_t *)&from, (uintmax_t *)&to) == 2)
            is_here = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (is_here && !strncmp(line, "VmFlags:", 8))
            served = strstr(line, " um") != NULL;
    }
    if (!maps || fclose(maps)) exit(3);
    return served;
}

int main(int argc, char **argv) {
    uint64_t words = argc == 2 ? strtoull(argv[1], NULL, 10) << 17 : 0;
    if (!words || words > MOST) return 2;
    for (uint64_t i = 0; i < words; i++) table[i] = word(i, 0);
    printf("%ju wrong words\n", (uintmax_t)check(words, 0));
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return perror("fork"), 1;
    if (!child) {
        for (uint64_t i = 0; i < words; i++) table[i] += word(i, given[0]) - word(i, 0);
        printf("%ju in the child\n", (uintmax_t)check(words, 1));
        fflush(stdout);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status) return 1;
    /* What is a library's, and lies beside the arrays, is not paged. */
    if (is_served(&stdout) || is_served(kept + (1 << 19)) || kept[0] != 1) return 4;
    if (getenv("OUTCORE_RAM") && !is_served(table + words / 2)) return 5;
    printf("%ju after it\n", (uintmax_t)check(words, 0));
    for (size_t i = 0; i < sizeof unused / sizeof *unused; i += 512) words += unused[i] != NULL;
    return words >> 17 != strtoull(argv[1], NULL, 10);
}
