// Forks in every way, with more memory than RAM. Each word tells where it lies and who wrote it,
// so that zeros, and pages of others, are found. Modes: threads, handler, raw, own, orphans.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t _Fork(void);

static uint64_t *words;
static size_t count;

static void fail(const char *what) {
    fprintf(stderr, "%s (process %d)\n", what, getpid());
    _exit(1);
}

static uint64_t mark(size_t index) { return (index + 1) * 0x9e3779b97f4a7c15u & ~0xfffffu; }

static void fill(size_t from, size_t to, uint64_t version) {
    for (size_t i = from; i < to; i++) words[i] = mark(i) | version;
}

/// Every word is in its place; the versions are `version`, or anything if that is 0.
static int is_right(size_t from, size_t to, uint64_t version) {
    for (size_t i = from; i < to; i++) {
        uint64_t word = words[i];
        if ((word & ~0xfffffu) != mark(i) || (version && (word & 0xfffff) != version)) return 0;
    }
    return 1;
}

static int ended_well(pid_t child) {
    int status;
    return waitpid(child, &status, 0) == child && status == 0;
}

static atomic_int over;

static void *churn(void *argument) {
    size_t part = (size_t)argument, from = count / 4 * part, to = from + count / 4;
    for (uint64_t version = 2; !over; version = version % 1000 + 2) {
        fill(from, to, version);
        char *block = malloc(300000);
        memset(block, 1, 300000);
        free(block);
        void *map = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(map, 2, 1 << 20);
        madvise(map, 1 << 19, MADV_DONTNEED);
        munmap(map, 1 << 20);
    }
    return 0;
}

static void threads(int forks) {
    pthread_t all[4];
    for (size_t part = 0; part < 4; part++) pthread_create(&all[part], 0, churn, (void *)part);
    for (int n = 0; n < forks; n++) {
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            if (!is_right(0, count, 0)) fail("a child of threads has other bytes");
            fill(0, count, 1);
            _exit(is_right(0, count, 1) ? 0 : 1);
        }
        if (!ended_well(child)) fail("a child of threads failed");
    }
    over = 1;
    for (int part = 0; part < 4; part++) pthread_join(all[part], 0);
    if (!is_right(0, count, 0)) fail("the threads have other bytes");
}

static atomic_int handled;

static void handler(int signal) {
    int before = errno;
    pid_t child = _Fork();
    if (child == 0) {
        for (size_t i = 0; i < count; i += 4096 + 512)
            if ((words[i] & ~0xfffffu) != mark(i)) _exit(2);
        _exit(0);
    }
    if (child < 0 || !ended_well(child)) _exit(3);
    handled++;
    errno = before;
    (void)signal;
}

static void in_a_handler(int times) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    for (uint64_t version = 2; handled < times; version++) {
        // At some point of the round.
        struct itimerval soon = {{0, 0}, {0, 1000 * (version * 7 % 50 + 1)}};
        setitimer(ITIMER_REAL, &soon, 0);
        fill(0, count, version);
        void *blocks[64];
        for (int i = 0; i < 64; i++) blocks[i] = malloc(100 + 1000 * i);
        for (int i = 0; i < 64; i++) free(blocks[i]);
        if (!is_right(0, count, version)) fail("a handler's program has other bytes");
    }
}

static void raw(void) {
    int killed = 0;
    for (int n = 0; n < 4; n++) {
        pid_t child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0) {
            size_t zeros = 0;
            for (size_t i = count / 4 * n; i < count; i += 512) zeros += words[i] == 0;
            _exit(zeros ? 1 : 0);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 1) fail("a child of a raw clone read zeros");
        killed += WIFSIGNALED(status);
    }
    if (!is_right(0, count, 1)) fail("raw clones changed bytes");
    printf("%d killed\n", killed);
}

/// Everybody forks `levels` times, and keeps bytes of its own.
static void own(int levels) {
    pid_t children[16];
    int made = 0;
    uint64_t version = 1;
    for (int level = 0; level < levels; level++) {
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            made = 0;
            version |= 2u << level;
            if (!is_right(0, count, 0)) fail("a child has other bytes than its parent had");
        } else {
            children[made++] = child;
        }
        fill(0, count, version);
    }
    for (int round = 0; round < 2; round++) {
        if (!is_right(0, count, version)) fail("a process of many has other bytes");
        fill(0, count, version + 0x1000 * (round + 1));
        version += 0x1000 * (round + 1);
    }
    if (!is_right(0, count, version)) fail("a process of many has other bytes in the end");
    for (int n = 0; n < made; n++)
        if (!ended_well(children[n])) fail("one of many failed");
}

/// Whoever has forked is killed at once; the last looks at every byte.
static void orphans(int generations) {
    int pipes[2];
    if (pipe(pipes)) fail("pipe");
    pid_t first = fork();
    if (first == 0) {
        for (int n = 0; n < generations; n++) {
            pid_t parent = getpid();
            pid_t child = fork();
            if (child < 0) fail("fork");
            if (child > 0) {
                if (n % 2) kill(getpid(), SIGKILL);
                _exit(0);
            }
            while (getppid() == parent) usleep(100);
            for (size_t i = n; i < count; i += 16 * 512) words[i] = mark(i) | 3;
        }
        char answer = is_right(0, count, 0) ? 'y' : 'n';
        if (write(pipes[1], &answer, 1) != 1) fail("write");
        _exit(0);
    }
    close(pipes[1]);
    char answer = 'x';
    if (read(pipes[0], &answer, 1) != 1 || answer != 'y') fail("an orphan has other bytes, or has ended");
    waitpid(first, 0, 0);
    if (!is_right(0, count, 1)) fail("orphans changed the bytes of others");
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    count = (size_t)atoi(argv[2]) << 17;
    words = malloc(count * 8);
    fill(0, count, 1);
    int number = atoi(argv[3]);
    if (!strcmp(argv[1], "threads")) threads(number);
    else if (!strcmp(argv[1], "handler")) in_a_handler(number);
    else if (!strcmp(argv[1], "raw")) raw();
    else if (!strcmp(argv[1], "own")) own(number);
    else if (!strcmp(argv[1], "orphans")) orphans(number);
    else return 2;
    puts("every byte was right");
    return 0;
}
