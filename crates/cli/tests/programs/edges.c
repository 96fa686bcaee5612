/* Calls of the mmap family, and forks, that are easily got wrong by who pages memory from user space.
 *
 *     edges MODE MIB
 *
 * MODE is one of
 *   fixed      mremap with MREMAP_FIXED onto memory that is paged
 *   populate   MAP_POPULATE of MIB while memory is paged
 *   guard      guards are put up and taken away (Linux 6.13)
 *   wipe       MADV_WIPEONFORK before anything is paged
 *   lock       mlock where nothing is mapped or may be read; munlockall
 *   refused    fork fails three hundred times
 *   protect    rights are taken away and given back, and memory shrinks, moves and ends, again and again
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

static long pages;

static void fail(const char *what, long number) {
    printf("%s: %ld (%s)\n", what, number, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static char *map(long count) {
    void *at = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap", count);
    return at;
}

static uint64_t word(long page, long round) {
    return (uint64_t)(page + 1) * 0x9e3779b97f4a7c15u + round;
}

static void fill(char *at, long count, long round) {
    for (long page = 0; page < count; page++)
        for (long place = 0; place < PAGE; place += 8)
            *(uint64_t *)(at + page * PAGE + place) = word(page, round) + place;
}

static void check(const char *at, long count, long round, const char *what) {
    for (long page = 0; page < count; page++)
        for (long place = 0; place < PAGE; place += 1016)
            if (*(uint64_t *)(at + page * PAGE + place) != word(page, round) + place)
                fail(what, page);
}

/* More than there is room for. */
static char *press(void) {
    char *at = map(pages);
    fill(at, pages, 0);
    return at;
}

static void fixed(void) {
    char *pressure = press(), *target = map(1024);
    for (long round = 1; round < 40; round++) {
        char *source = map(1024);
        fill(source, 1024, round);
        fill(target, 1024, -round);
        check(pressure, pages / 4, 0, "beside");
        if (mremap(source, 1024 * PAGE, 1024 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) != target)
            fail("mremap", round);
        check(target, 1024, round, "what was moved there");
        /* Memory that is not paged, which is less than 64 KiB. */
        char *small = map(8);
        fill(small, 8, round);
        if (mremap(small, 8 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target + 64 * PAGE) != target + 64 * PAGE)
            fail("mremap of little", round);
        check(target + 64 * PAGE, 8, round, "what little was moved there");
        if (munmap(target, 1024 * PAGE) ||
            mmap(target, 1024 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != target)
            fail("mmap over it", round);
    }
    check(pressure, pages, 0, "what was beside");
    errno = 0;
    if (mremap(target, 1024 * PAGE, SIZE_MAX, 0) != MAP_FAILED || (errno != ENOMEM && errno != EINVAL))
        fail("mremap to all there is", errno);
}

static void populate(void) {
    char *pressure = press();
    char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED)
        fail("mmap", 0);
    usleep(300000);
    for (long page = 0; page < pages; page++)
        if (at[page * PAGE])
            fail("not zero", page);
    fill(at, pages, 1);
    check(pressure, pages, 0, "what was before");
    check(at, pages, 1, "what was populated");
}

static sigjmp_buf where;

static void jump(int signal) {
    siglongjmp(where, signal);
}

static int touch(volatile char *at) {
    int raised = sigsetjmp(where, 1);
    if (raised == 0)
        (void)*at;
    return raised;
}

static void guard(void) {
    char *at = map(256), *pressure = press();
    struct sigaction action = {.sa_handler = jump};
    sigaction(SIGSEGV, &action, NULL);
    for (long round = 0; round < 20; round++) {
        fill(at, 256, round);
        if (round % 2)
            check(pressure, pages, 0, "beside");
        if (madvise(at + 64 * PAGE, 64 * PAGE, GUARD_INSTALL)) {
            if (errno == EINVAL) {
                puts("no guards");
                return;
            }
            fail("guards", round);
        }
        for (long page = 64; page < 128; page++)
            if (touch(at + page * PAGE) != SIGSEGV)
                fail("a guard lets everybody through", page);
        check(at, 64, round, "before the guards");
        if (round % 3 == 0)
            check(pressure, pages, 0, "beside");
        if (madvise(at + 64 * PAGE, 64 * PAGE, GUARD_REMOVE))
            fail("no guards", round);
        for (long page = 64; page < 128; page++)
            for (long place = 0; place < PAGE; place += 512)
                if (at[page * PAGE + place])
                    fail("what was there before the guards", page);
        check(at, 64, round, "before the guards, later");
    }
    check(pressure, pages, 0, "beside");
}

static int waited(pid_t child) {
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail("fork", child);
    return status;
}

static void wipe(void) {
    char *secret = map(64), *own = map(64);
    fill(secret, 64, 1);
    fill(own, 64, 2);
    if (madvise(secret, 64 * PAGE, MADV_WIPEONFORK) || madvise(own, 64 * PAGE, MADV_DONTFORK))
        fail("madvise", 0);
    pid_t child = fork();
    if (child == 0) {
        fill(secret, 64, 3);
        char *pressure = press();
        /* Some of it is in the store, and some is not. */
        check(secret, 8, 3, "a child's");
        pid_t grandchild = fork();
        if (grandchild == 0) {
            for (long place = 0; place < 64 * PAGE; place++)
                if (secret[place])
                    _exit(9);
            check(pressure, pages, 0, "a grandchild's");
            _exit(0);
        }
        if (waited(grandchild))
            _exit(8);
        check(secret, 64, 3, "a child's, after its fork");
        _exit(0);
    }
    int status = waited(child);
    if (status)
        fail("the child", status);
    check(secret, 64, 1, "the parent's");
    check(own, 64, 2, "what is only the parent's");
}

static void lock(void) {
    char *at = map(64), *pressure = press();
    fill(at, 64, 1);
    check(pressure, pages, 0, "beside");
    if (mlock(at, 64 * PAGE))
        fail("mlock", 0);
    check(at, 64, 1, "what is locked");
    /* Without effect on what follows, were it not for munlockall. */
    for (long round = 0; round < 200; round++) {
        char *more = map(64);
        fill(more, 64, round);
        if (mlock(more, 64 * PAGE))
            fail("mlock again", round);
        if (munlockall())
            fail("munlockall", round);
        check(more, 64, round, "what was locked");
    }
    munmap(at + 16 * PAGE, 16 * PAGE);
    if (mlock(at, 64 * PAGE) != -1 || errno != ENOMEM)
        fail("mlock of a hole", errno);
    if (mprotect(at + 40 * PAGE, PAGE, PROT_NONE))
        fail("mprotect", 0);
    if (mlock(at + 32 * PAGE, 32 * PAGE) != -1 || errno != ENOMEM)
        fail("mlock of what cannot be read", errno);
    check(at, 16, 1, "beside the hole");
}

static void refused(void) {
    char *pressure = press();
    /* Of clone(2), which threads use as well, what does not share memory fails. */
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VM, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        fail("seccomp", 0);
    for (long round = 0; round < 300; round++) {
        errno = 0;
        if (fork() != -1 || errno != ENOMEM)
            fail("fork", round);
    }
    check(pressure, pages, 0, "what was there before");
}

static void protect(void) {
    for (long round = 0; round < 400; round++) {
        char *at = map(pages / 4);
        if (round % 16 == 0)
            fill(at, pages / 4, round);
        for (int turn = 0; turn < 2; turn++)
            if (mprotect(at, pages / 4 * PAGE, turn ? PROT_NONE : PROT_READ) || mprotect(at, pages / 8 * PAGE, PROT_READ | PROT_WRITE))
                fail("mprotect", round);
        if (mprotect(at, pages / 4 * PAGE, PROT_READ | PROT_WRITE))
            fail("mprotect to write", round);
        if (round % 16 == 0)
            check(at, pages / 4, round, "what was protected");
        if (round % 3 == 0 && mprotect(at, pages / 4 * PAGE, PROT_READ))
            fail("mprotect, at last", round);
        at = mremap(at, pages / 4 * PAGE, pages / 8 * PAGE, MREMAP_MAYMOVE);
        if (at == MAP_FAILED || munmap(at, pages / 8 * PAGE))
            fail("mremap", round);
        /* Lengths that are no multiples of pages. */
        void *odd = mmap(NULL, 100001, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (odd == MAP_FAILED || munmap(odd, 100001))
            fail("mmap of an odd length", round);
    }
    /* What becomes writable beside what once was is promised as well: more than there is is refused. */
    char *none = mmap(NULL, 8 * pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (none == MAP_FAILED || mprotect(none, 16 * PAGE, PROT_READ | PROT_WRITE) || mprotect(none, 16 * PAGE, PROT_NONE))
        fail("a part of a reservation", 0);
    int is_limited = getenv("LD_PRELOAD") != NULL;
    if (is_limited && (mprotect(none, 8 * pages * PAGE, PROT_READ | PROT_WRITE) != -1 || errno != ENOMEM))
        fail("all of a reservation", errno);
    if (munmap(none, 8 * pages * PAGE))
        fail("munmap of a reservation", 0);
    /* There is as much to be had as before. */
    char *all = map(pages);
    fill(all, pages, 1);
    check(all, pages, 1, "what could be had at last");
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    pages = (atol(argv[2]) << 20) / PAGE;
    struct {
        const char *name;
        void (*run)(void);
    } modes[] = {{"fixed", fixed}, {"populate", populate}, {"guard", guard}, {"wipe", wipe}, {"lock", lock}, {"refused", refused}, {"protect", protect}};
    for (size_t n = 0; n < sizeof modes / sizeof *modes; n++)
        if (strcmp(argv[1], modes[n].name) == 0) {
            modes[n].run();
            puts("every byte was right");
            return 0;
        }
    return 2;
}
