// Processes that share one budget. Each word tells where it lies and who wrote it. Modes:
//   workers COUNT REGIONS ROUNDS   COUNT processes, each with REGIONS regions of 5 MiB, read, check and
//                                  write words at random, ROUNDS times
//   hot MIB ROUNDS                 three processes fill MIB each and rest; then one fills as much as all of
//                                  them, reads ROUNDS pages at random, and waits for its input
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REGION = 5 << 20, WORDS = REGION / 8, PAGE_WORDS = 512 };

static void fail(const char *what) {
    fprintf(stderr, "%s (process %d)\n", what, getpid());
    _exit(1);
}

static uint64_t random_state;

static uint64_t chance(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return random_state >> 33;
}

static uint64_t *map(size_t bytes) {
    void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) fail("mmap");
    return at;
}

static uint64_t mark(uint64_t who, uint64_t at) { return (at + 1) * 0x9e3779b97f4a7c15u ^ who << 56; }

static void fill(uint64_t *words, size_t count, uint64_t who) {
    for (size_t i = 0; i < count; i++) words[i] = mark(who, i);
}

/// Random words of random regions are what they were, and are written with the next version.
static void work(uint64_t who, int regions, int rounds) {
    uint64_t **region = calloc(regions, sizeof *region);
    uint32_t **version = calloc(regions, sizeof *version);
    for (int r = 0; r < regions; r++) {
        region[r] = map(REGION);
        version[r] = calloc(WORDS / PAGE_WORDS, sizeof **version);
        fill(region[r], WORDS, who * 64 + r);
    }
    random_state = who + 1;
    for (int n = 0; n < rounds; n++) {
        int r = chance() % regions;
        size_t page = chance() % (WORDS / PAGE_WORDS), first = page * PAGE_WORDS;
        // The first eight words of a page are changed together.
        for (size_t i = first; i < first + 8; i++)
            if (region[r][i] != mark(who * 64 + r, i) + version[r][page]) fail("a word has other bytes");
        version[r][page]++;
        for (size_t i = first; i < first + 8; i++) region[r][i] = mark(who * 64 + r, i) + version[r][page];
    }
    for (int r = 0; r < regions; r++)
        for (size_t i = 0; i < WORDS; i++) {
            uint64_t more = i % PAGE_WORDS < 8 ? version[r][i / PAGE_WORDS] : 0;
            if (region[r][i] != mark(who * 64 + r, i) + more) fail("a word has other bytes in the end");
        }
}

static void workers(int count, int regions, int rounds) {
    for (int who = 0; who < count; who++) {
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            work(who, regions, rounds);
            _exit(0);
        }
    }
    for (int who = 0; who < count; who++) {
        int status;
        if (wait(&status) < 0 || status) fail("a worker failed");
    }
}

static void hot(size_t mib, int rounds) {
    pid_t idle[3];
    size_t count = mib << 17;
    for (int who = 0; who < 3; who++) {
        int pipes[2];
        if (pipe(pipes)) fail("pipe");
        idle[who] = fork();
        if (idle[who] < 0) fail("fork");
        if (idle[who] == 0) {
            close(pipes[0]);
            uint64_t *words = map(count * 8);
            fill(words, count, who);
            if (write(pipes[1], "", 1) != 1) fail("write");
            sigset_t asked;
            sigemptyset(&asked);
            sigaddset(&asked, SIGUSR1);
            int got;
            sigwait(&asked, &got);
            for (size_t i = 0; i < count; i++)
                if (words[i] != mark(who, i)) fail("an idle process has other bytes");
            _exit(0);
        }
        close(pipes[1]);
        char byte;
        if (read(pipes[0], &byte, 1) != 1) fail("an idle process did not fill its memory");
        close(pipes[0]);
    }
    uint64_t *words = map(3 * count * 8);
    fill(words, 3 * count, 9);
    for (int n = 0; n < rounds; n++) {
        size_t at = chance() % (3 * count / PAGE_WORDS) * PAGE_WORDS;
        if (words[at] != mark(9, at)) fail("the hot process has other bytes");
    }
    // Whoever looks now sees who has what.
    puts("hot");
    fflush(stdout);
    char byte;
    if (read(0, &byte, 1) < 0) fail("read");
    for (int who = 0; who < 3; who++) {
        int status;
        kill(idle[who], SIGUSR1);
        if (waitpid(idle[who], &status, 0) != idle[who] || status) fail("an idle process failed");
    }
}

int main(int argc, char **argv) {
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &asked, 0);
    if (argc == 5 && !strcmp(argv[1], "workers")) workers(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    else if (argc == 4 && !strcmp(argv[1], "hot")) hot(atoi(argv[2]), atoi(argv[3]));
    else return 2;
    puts("every byte was right");
    return 0;
}
