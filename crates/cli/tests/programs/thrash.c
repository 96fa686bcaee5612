/* Waits for memory until it is killed.
 *
 * thrash write DIRECTORY MIB: writes a file without a name over and over. With less memory than the
 * file, under version 1 of control groups, the kernel has it wait for the disk to take older pages.
 *
 * thrash grow: takes a page after the other. Above memory.high of version 2 of control groups the
 * kernel delays it at each. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PIECE = 1 << 20, PAGE = 4096 };

static char piece[PIECE];

static int failed(const char *what) {
    perror(what);
    return 1;
}

static int grow(void) {
    for (;;) {
        char *page = malloc(PAGE);
        if (!page) return failed("malloc");
        *(volatile char *)page = 1;
    }
}

static int overwrite(const char *directory, unsigned long pieces) {
    int file = open(directory, O_TMPFILE | O_RDWR, 0600);
    if (file < 0) return failed("open");
    for (unsigned long i = 0;; i = (i + 1) % pieces)
        if (pwrite(file, piece, PIECE, (off_t)i * PIECE) != PIECE) return failed("write");
}

int main(int argc, char **argv) {
    /* A test that was killed leaves nobody who waits for ever. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL)) return failed("prctl");
    if (argc == 2 && !strcmp(argv[1], "grow")) return grow();
    if (argc == 4 && !strcmp(argv[1], "write") && atoi(argv[3]) > 0) return overwrite(argv[2], strtoul(argv[3], NULL, 10));
    return 2;
}
