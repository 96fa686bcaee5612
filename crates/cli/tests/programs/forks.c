// Forks in every way, with more memory than RAM. Each word tells where it lies and who wrote it,
// so that zeros, and pages of others, are found. Modes: threads, handler, raw, own, orphans, killed.
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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
        if ((word & ~0xfffffu) == mark(i) && (!version || (word & 0xfffff) == version)) continue;
        fprintf(stderr, "word %zu, at %p, is %#lx in place of %#lx\n", i, (void *)&words[i], word, mark(i) | version);
        return 0;
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

enum { WORKERS = 4 };

/// Writes, looks, and has children that look, until it is killed.
static void work(unsigned seed) {
    // Or else it would go on, and hold the test's pipes, where the survivor did not.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint64_t version = 2;; version = version % 1000 + 2) {
        size_t part = count / 16 * (rand_r(&seed) % 16);
        if (!is_right(part, part + count / 16, 0)) fail("a worker has other bytes");
        fill(part, part + count / 16, version);
        if (rand_r(&seed) % 4 == 0) {
            pid_t child = fork();
            if (child == 0) {
                size_t at = count / 16 * (rand_r(&seed) % 16);
                if (!is_right(at, at + count / 16, 0)) fail("a worker's child has other bytes");
                _exit(0);
            }
            int status;
            if (child > 0) waitpid(child, &status, 0);
            if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status)) _exit(1);
        }
    }
}

/// One of the pagers and guards of others of this program, by chance; 0 if there is none.
static pid_t companion_of_another(unsigned *seed) {
    pid_t found = 0;
    int seen = 0;
    char own[4096], other[4096], path[64];
    FILE *file = fopen("/proc/self/cmdline", "r");
    size_t length = fread(own, 1, sizeof own, file);
    fclose(file);
    DIR *all = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(all));) {
        if (!isdigit(entry->d_name[0])) continue;
        snprintf(path, sizeof path, "/proc/%.16s/comm", entry->d_name);
        if (!(file = fopen(path, "r"))) continue;
        size_t read = fread(other, 1, 8, file);
        fclose(file);
        if (read < 8 || memcmp(other, "outcore-", 8)) continue;
        snprintf(path, sizeof path, "/proc/%.16s/cmdline", entry->d_name);
        if (!(file = fopen(path, "r"))) continue;
        read = fread(other, 1, sizeof other, file);
        fclose(file);
        pid_t pid = atoi(entry->d_name);
        // Not one that shares this process's memory.
        if (read != length || memcmp(own, other, length) || syscall(SYS_kcmp, getpid(), pid, 1, 0, 0) <= 0)
            continue;
        if (rand_r(seed) % ++seen == 0) found = pid;
    }
    closedir(all);
    return found;
}

/// Kills workers, or their pagers, at random moments; whoever lives has its bytes.
static void killed(int times) {
    pid_t workers[WORKERS] = {0};
    unsigned seed = 5;
    for (int turn = 0; turn < times + WORKERS; turn++) {
        int chosen = turn < WORKERS ? turn : rand_r(&seed) % WORKERS;
        if (workers[chosen]) {
            usleep(rand_r(&seed) % 30000);
            pid_t companion = rand_r(&seed) % 3 == 0 ? companion_of_another(&seed) : 0;
            if (companion) kill(companion, SIGKILL);
            kill(workers[chosen], SIGKILL);
        }
        for (int n = 0; n < WORKERS; n++) {
            int status;
            if (n == chosen && workers[n] && waitpid(workers[n], &status, 0) == workers[n]) {
                if (WIFEXITED(status)) fail("a worker ended by itself");
                workers[n] = 0;
            } else if (workers[n] && waitpid(workers[n], &status, WNOHANG) == workers[n]) {
                if (WIFEXITED(status)) fail("a worker ended by itself");
                workers[n] = 0;
            }
            if (workers[n]) continue;
            workers[n] = fork();
            if (workers[n] < 0) fail("fork");
            if (workers[n] == 0) work(seed + turn * WORKERS + n);
        }
        size_t part = count / 16 * (turn % 16);
        if (!is_right(part, part + count / 16, 0)) fail("the survivor has other bytes");
        fill(part, part + count / 16, turn + 1);
    }
    for (int n = 0; n < WORKERS; n++) {
        kill(workers[n], SIGKILL);
        waitpid(workers[n], 0, 0);
    }
    if (!is_right(0, count, 0)) fail("the survivor has other bytes in the end");
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
    else if (!strcmp(argv[1], "killed")) killed(number);
    else return 2;
    puts("every byte was right");
    return 0;
}
