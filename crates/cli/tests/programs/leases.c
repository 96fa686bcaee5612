/* Maps a file for reading again and again, while it is written by every way there is. What is read
 * through the maps must be what was written last.
 *
 *     leases MODE FILE MIB ROUNDS
 *
 * MODE is one of
 *   fill     makes the file
 *   scan     maps it and checks every byte, in order and in no order; fails if the program has written to it
 *   change   in rounds: reads, then writes by pwrite, by another process, by a writable map, or truncates
 *   threads  eight threads read all the time, while the same is done
 *   fork     children read and check, with and without their parent; one writes
 *   own      private maps that are written after a while
 *   keep     private maps of which most is written, read and dropped again, then given back in every way
 *   calls    madvise, munmap of parts, mprotect, mremap, mlock, maps over parts
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L
#define WORDS 512

static const char *path;
static long pages;
static long rounds;
/* What every page of the file was written for the last time. */
static uint32_t *version;

static uint64_t word(long page, uint32_t writes, int index) {
    return (uint64_t)(page + 1) * 0x9e3779b97f4a7c15u + writes * 0xc2b2ae3d27d4eb4fu + index;
}

static void stamp(uint64_t *at, long page, uint32_t writes) {
    for (int index = 0; index < WORDS; index++)
        at[index] = word(page, writes, index);
}

static void fail(const char *what, long page) {
    printf("page %ld: %s (%s)\n", page, what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static void check(const uint64_t *at, long page, uint32_t writes, const char *what) {
    for (int index = 0; index < WORDS; index += 73)
        if (at[index] != word(page, writes, index))
            fail(what, page);
}

static uint64_t state = 88172645463325252u;

static uint64_t next(uint64_t *state, uint64_t below) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state % below;
}

static uint64_t chance(uint64_t below) {
    return next(&state, below);
}

static int open_for(int flags) {
    int fd = open(path, flags, 0600);
    if (fd < 0)
        fail("open", flags);
    return fd;
}

static void put(int fd, long page, uint32_t writes) {
    uint64_t bytes[WORDS];
    stamp(bytes, page, writes);
    if (pwrite(fd, bytes, PAGE, page * PAGE) != PAGE)
        fail("pwrite", page);
}

static uint64_t *map_part(long first, long count, int flags) {
    int fd = open_for(O_RDONLY);
    void *at = mmap(NULL, count * PAGE, PROT_READ, flags, fd, first * PAGE);
    if (at == MAP_FAILED)
        fail("mmap", first);
    close(fd);
    return at;
}

static uint64_t *map(int flags) {
    return map_part(0, pages, flags);
}

static void fill(void) {
    int fd = open_for(O_RDWR | O_CREAT | O_TRUNC);
    for (long page = 0; page < pages; page++)
        put(fd, page, 0);
    close(fd);
}

static void look_at_all(const uint64_t *at, const char *what) {
    for (long page = 0; page < pages; page++)
        check(at + page * WORDS, page, version[page], what);
}

static void look_at_some(const uint64_t *at, long count, const char *what) {
    while (count--) {
        long page = chance(pages);
        check(at + page * WORDS, page, version[page], what);
    }
}

/* By another process, which is waited for. */
static void elsewhere(long page, uint32_t writes) {
    pid_t child = fork();
    if (child == 0) {
        int fd = open_for(O_WRONLY);
        put(fd, page, writes);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("another process", page);
}

/* The same by one that has nothing of this one's memory. */
static void far_away(long page, uint32_t writes) {
    char command[512];
    uint64_t bytes[WORDS];
    stamp(bytes, page, writes);
    snprintf(command, sizeof command, "dd of='%s' bs=4096 seek=%ld conv=notrunc status=none iflag=fullblock", path, page);
    FILE *pipe = popen(command, "w");
    if (!pipe || fwrite(bytes, 1, PAGE, pipe) != PAGE || pclose(pipe) != 0)
        fail("dd", page);
}

static void change_one(int how) {
    long page = chance(pages);
    uint32_t writes = version[page] + 1;
    switch (how) {
    case 0: {
        int fd = open_for(O_WRONLY);
        put(fd, page, writes);
        close(fd);
        break;
    }
    case 1:
        elsewhere(page, writes);
        break;
    case 2:
        far_away(page, writes);
        break;
    case 3: {
        int fd = open_for(O_RDWR);
        uint64_t *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED)
            fail("mmap for writing", page);
        close(fd);
        stamp(at + page * WORDS, page, writes);
        munmap(at, pages * PAGE);
        break;
    }
    default:
        /* Shorter and longer again: what was cut off is zeros until it is written. */
        if (truncate(path, (pages - 8) * PAGE))
            fail("truncate", page);
        int fd = open_for(O_WRONLY);
        for (page = pages - 8; page < pages; page++)
            put(fd, page, ++version[page]);
        close(fd);
        return;
    }
    version[page] = writes;
}

static void scan(void) {
    uint64_t *shared = map(MAP_SHARED), *private = map(MAP_PRIVATE);
    look_at_all(shared, "the shared map");
    for (long page = pages; page--;)
        check(private + page * WORDS, page, 0, "the private map, backwards");
    look_at_some(shared, rounds, "at random");
    look_at_some(private, rounds, "at random, private");
    /* By the kernel, out of the map. */
    int out = open("/dev/null", O_WRONLY), pipes[2];
    if (write(out, shared, pages * PAGE) != pages * PAGE || pipe(pipes))
        fail("write", 0);
    for (long page = 0; page < pages; page += 97) {
        uint64_t bytes[WORDS];
        if (write(pipes[1], shared + page * WORDS, PAGE) != PAGE || read(pipes[0], bytes, PAGE) != PAGE)
            fail("a pipe", page);
        check(bytes, page, 0, "by a pipe");
    }
    munmap(shared, pages * PAGE);
    munmap(private, pages * PAGE);
}

static void change(void) {
    uint64_t *kept = map(MAP_SHARED);
    for (long round = 0; round < rounds; round++) {
        uint64_t *fresh = map(round % 2 ? MAP_SHARED : MAP_PRIVATE);
        look_at_some(fresh, 300, "a fresh map");
        look_at_some(kept, 100, "the kept map");
        long many = 1 + chance(3);
        while (many--) {
            change_one(round % 5);
            look_at_some(fresh, 50, "after a change");
            look_at_some(kept, 50, "after a change, kept");
        }
        munmap(fresh, pages * PAGE);
        if (round % 7 == 0) {
            munmap(kept, pages * PAGE);
            kept = map(MAP_SHARED);
        }
    }
    look_at_all(kept, "the end");
}

static uint64_t *read_by_all;
static atomic_int stop;
/* Readers allow what was there and what comes while a page is written. */
static _Atomic uint32_t *least, *most;

static void *reader(void *seed) {
    uint64_t own = 88172645463325252u * ((long)seed + 1), reads = 0;
    while (!atomic_load(&stop)) {
        long page = next(&own, pages);
        int index = next(&own, WORDS);
        uint32_t from = atomic_load(&least[page]);
        uint64_t found = *(volatile uint64_t *)(read_by_all + page * WORDS + index);
        uint32_t to = atomic_load(&most[page]);
        int right = 0;
        for (uint32_t writes = from; writes <= to; writes++)
            right |= found == word(page, writes, index);
        if (!right)
            fail("what a thread has read", page);
        reads++;
    }
    return (void *)reads;
}

static void threads(void) {
    least = calloc(pages, sizeof *least), most = calloc(pages, sizeof *most);
    pthread_t readers[8];
    for (long round = 0; round < rounds; round++) {
        read_by_all = map(MAP_SHARED);
        atomic_store(&stop, 0);
        for (long n = 0; n < 8; n++)
            pthread_create(&readers[n], NULL, reader, (void *)(n + 8 * round));
        usleep(20000 + chance(30000));
        int fd = open_for(O_WRONLY);
        for (int n = 0; n < 200; n++) {
            long page = chance(pages);
            atomic_store(&most[page], version[page] + 1);
            put(fd, page, ++version[page]);
            atomic_store(&least[page], version[page]);
        }
        close(fd);
        usleep(5000);
        atomic_store(&stop, 1);
        uint64_t reads = 0;
        for (int n = 0; n < 8; n++) {
            void *own;
            pthread_join(readers[n], &own);
            reads += (uint64_t)own;
        }
        if (reads == 0)
            fail("nobody has read anything", round);
        munmap(read_by_all, pages * PAGE);
    }
}

static void children(void) {
    for (long round = 0; round < rounds; round++) {
        uint64_t *shared = map(MAP_SHARED), *part = map_part(pages / 2, pages / 4, MAP_PRIVATE);
        look_at_some(shared, 300, "before the fork");
        /* A hole, so that the map is in pieces. */
        munmap((char *)shared + pages / 4 * PAGE, 8 * PAGE);
        int done[2];
        if (pipe(done))
            fail("pipe", 0);
        pid_t middle = fork();
        if (middle == 0) {
            if (fork() == 0) {
                /* Its parent ends at once; the file changes meanwhile. */
                for (long page = 0; page < pages; page++)
                    if (page < pages / 4 || page >= pages / 4 + 8)
                        check(shared + page * WORDS, page, version[page], "a child's map");
                for (long page = 0; page < pages / 4; page++)
                    check(part + page * WORDS, pages / 2 + page, version[pages / 2 + page], "a child's part");
                int fd = open_for(O_WRONLY);
                put(fd, 5, version[5] + 1);
                close(fd);
                check(shared + 5 * WORDS, 5, version[5] + 1, "what a child has written");
                /* Of its own, after it has come to that memory. */
                uint64_t *own = map(round % 2 ? MAP_SHARED : MAP_PRIVATE);
                version[5]++;
                look_at_some(own, 300, "a map of the child's");
                fd = open_for(O_WRONLY);
                put(fd, 5, version[5]);
                look_at_some(own, 300, "a map of the child's, after it has written");
                if (write(done[1], "x", 1) != 1)
                    fail("write", 0);
                _exit(0);
            }
            _exit(0);
        }
        int status;
        char byte;
        close(done[1]);
        if (waitpid(middle, &status, 0) != middle || status != 0)
            fail("the child", status);
        if (read(done[0], &byte, 1) != 1)
            fail("the grandchild", 0);
        close(done[0]);
        version[5]++;
        check(shared + 5 * WORDS, 5, version[5], "what a child has written, here");
        munmap(shared, pages / 4 * PAGE), munmap(shared + (pages / 4 + 8) * WORDS, (pages - pages / 4 - 8) * PAGE);
        munmap(part, pages / 4 * PAGE);
    }
}

static uint64_t *private_map;
static pthread_barrier_t together;

static void *writer(void *number) {
    long page = 100 + (long)number * 37;
    pthread_barrier_wait(&together);
    check(private_map + page * WORDS, page, version[page], "a private map, before it is written");
    stamp(private_map + page * WORDS, page, 1000 + (long)number);
    for (long other = page + 1; other < page + 20; other++)
        check(private_map + other * WORDS, other, version[other], "beside what a thread has written");
    check(private_map + page * WORDS, page, 1000 + (long)number, "what a thread has written");
    return NULL;
}

static void own(void) {
    pthread_barrier_init(&together, NULL, 8);
    for (long round = 0; round < rounds; round++) {
        int fd = open_for(O_RDONLY);
        private_map = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (private_map == MAP_FAILED)
            fail("mmap", 0);
        look_at_some(private_map, 2000, "a private map");
        if (round % 4 == 0) {
            change_one(round % 3);
            look_at_some(private_map, 500, "a private map, after a change");
        }
        if (round % 4 == 1) {
            /* The kernel writes. */
            if (pread(fd, private_map + 40 * WORDS, PAGE, 41 * PAGE) != PAGE)
                fail("pread", 40);
            for (int index = 0; index < WORDS; index += 73)
                if (private_map[40 * WORDS + index] != word(41, version[41], index))
                    fail("what was read into a private map", 40);
        }
        if (round % 4 == 2) {
            pid_t child = fork();
            if (child == 0) {
                stamp(private_map + 50 * WORDS, 50, 99);
                check(private_map + 50 * WORDS, 50, 99, "what a child has written");
                check(private_map + 51 * WORDS, 51, version[51], "what a child has not written");
                _exit(0);
            }
            int status;
            if (waitpid(child, &status, 0) != child || status != 0)
                fail("the child", status);
            check(private_map + 50 * WORDS, 50, version[50], "what a child has written, here");
        }
        pthread_t writers[8];
        for (long n = 0; n < 8; n++)
            pthread_create(&writers[n], NULL, writer, (void *)n);
        for (long n = 0; n < 8; n++)
            pthread_join(writers[n], NULL);
        for (long n = 0; n < 8; n++)
            check(private_map + (100 + n * 37) * WORDS, 100 + n * 37, 1000 + n, "what was written, at the end");
        /* Of the file it is none. */
        uint64_t bytes[WORDS];
        if (pread(fd, bytes, PAGE, 100 * PAGE) != PAGE)
            fail("pread", 100);
        check(bytes, 100, version[100], "the file");
        close(fd);
        munmap(private_map, pages * PAGE);
    }
}

/* What every page of the private map was written for; 0 if it is the file's. */
static uint32_t *changed;

static void look_at_own(const uint64_t *at, long page, const char *what) {
    check(at + page * WORDS, page, changed[page] ? changed[page] : version[page], what);
}

static void look_at_all_own(const uint64_t *at, const char *what) {
    for (long page = 0; page < pages; page++)
        look_at_own(at, page, what);
}

static void change_own(uint64_t *at, long page) {
    look_at_own(at, page, "a page of one's own, before it is written");
    changed[page] = 1000000 + chance(1000000);
    stamp(at + page * WORDS, page, changed[page]);
}

static void *beside(void *at) {
    uint64_t seed = (uintptr_t)at;
    for (long page = pages - 64; !atomic_load(&stop); page = pages - 64 + next(&seed, 64)) {
        /* Each word once more than before, in whatever place the map is just then. */
        volatile uint64_t *words = (uint64_t *)at + page * WORDS;
        for (int index = 0; index < WORDS; index++)
            words[index]++;
    }
    return NULL;
}

static void *give_back(void *at) {
    (void)at;
    usleep(2000 + chance(20000));
    change_one(chance(3));
    return NULL;
}

static void keep(void) {
    changed = calloc(pages, sizeof *changed);
    for (long round = 0; round < rounds; round++) {
        memset(changed, 0, pages * sizeof *changed);
        int fd = open_for(O_RDONLY);
        uint64_t *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        if (at == MAP_FAILED)
            fail("mmap", 0);
        close(fd);
        look_at_some(at, 500, "before it is written");
        for (long count = pages / 2; count--;)
            change_own(at, chance(pages));
        for (long page = pages / 4; page < pages / 2; page++)
            change_own(at, page);
        look_at_all_own(at, "what was written");
        /* A page of zeros is not what the file has, either. */
        memset(at + 9 * WORDS, 0, PAGE);
        for (long page = 2 * pages / 3; page < 2 * pages / 3 + 500; page++)
            look_at_own(at, page, "in order");
        for (int index = 0; index < WORDS; index++)
            if (at[9 * WORDS + index])
                fail("zeros that were written", 9);
        changed[9] = 0;
        /* What is dropped is the file's again. */
        if (madvise(at + pages / 3 * WORDS, 300 * PAGE, MADV_DONTNEED) || madvise(at + 9 * WORDS, PAGE, MADV_DONTNEED))
            fail("madvise", 0);
        memset(changed + pages / 3, 0, 300 * sizeof *changed);
        look_at_all_own(at, "what was dropped");
        for (long count = 500; count--;)
            change_own(at, chance(pages));
        switch (round % 4) {
        case 0:
            /* Somebody writes to the file: what was changed stays, and the rest is what the file has. */
            change_one(chance(4));
            break;
        case 1: {
            pid_t child = fork();
            if (child == 0) {
                look_at_all_own(at, "a child's");
                for (long count = 2000; count--;)
                    change_own(at, chance(pages));
                look_at_all_own(at, "what a child has written");
                _exit(0);
            }
            change_own(at, chance(pages));
            int status;
            if (waitpid(child, &status, 0) != child || status != 0)
                fail("the child", status);
            break;
        }
        case 2:
            if (mprotect(at, pages / 2 * PAGE, PROT_READ))
                fail("mprotect", 0);
            break;
        default: {
            /* Pages are written all the time while the kernel gets the map; no word may be lost. */
            memset(at + (pages - 64) * WORDS, 0, 64 * PAGE);
            atomic_store(&stop, 0);
            pthread_t one, other;
            pthread_create(&one, NULL, beside, at), pthread_create(&other, NULL, give_back, at);
            pthread_join(other, NULL);
            usleep(2000);
            atomic_store(&stop, 1);
            pthread_join(one, NULL);
            uint64_t *words = at + (pages - 64) * WORDS;
            for (long page = 0; page < 64; page++)
                for (int index = 1; index < WORDS; index++)
                    if (words[page * WORDS + index] != words[page * WORDS])
                        fail("a word was lost", pages - 64 + page);
            for (long page = pages - 64; page < pages; page++) {
                changed[page] = 7;
                stamp(at + page * WORDS, page, 7);
            }
        }
        }
        look_at_all_own(at, "at the end");
        munmap(at, pages * PAGE);
    }
    /* Ended without being given back, in two pieces. */
    memset(changed, 0, pages * sizeof *changed);
    int fd = open_for(O_RDONLY);
    uint64_t *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    close(fd);
    for (long page = 0; page < pages; page++)
        change_own(at, page);
    if (munmap(at + pages / 4 * WORDS, pages / 4 * PAGE))
        fail("munmap", 0);
    for (long page = 0; page < pages; page++)
        if (page < pages / 4 || page >= pages / 2)
            look_at_own(at, page, "beside what was unmapped");
    munmap(at, pages / 4 * PAGE), munmap(at + pages / 2 * WORDS, pages / 2 * PAGE);
}

static sigjmp_buf where;

static void jump(int signal) {
    siglongjmp(where, signal);
}

/* The signal that a touch raises; 0 if none. */
static int touch(const volatile char *at, int writes) {
    struct sigaction action = {.sa_handler = jump}, segv, bus;
    sigaction(SIGSEGV, &action, &segv), sigaction(SIGBUS, &action, &bus);
    int raised = sigsetjmp(where, 1);
    if (raised == 0) {
        if (writes)
            *(volatile char *)at = 7;
        else
            (void)*at;
    }
    sigaction(SIGSEGV, &segv, NULL), sigaction(SIGBUS, &bus, NULL);
    return raised;
}

static void calls(void) {
    for (long round = 0; round < rounds; round++) {
        int flags = round % 2 ? MAP_SHARED : MAP_PRIVATE;
        uint64_t *at = map(flags);
        char *bytes = (char *)at;
        if (touch(bytes, 1) != SIGSEGV)
            fail("a map that can only be read was written", 0);
        check(at, 0, version[0], "after that");
        int advices[] = {MADV_SEQUENTIAL, MADV_RANDOM, MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED};
        for (int n = 0; n < 5; n++) {
            if (madvise(bytes + n * 64 * PAGE, 256 * PAGE, advices[n]))
                fail("madvise", advices[n]);
            look_at_some(at, 200, "after madvise");
        }
        if (madvise(bytes, PAGE, MADV_FREE) != -1 || errno != EINVAL)
            fail("MADV_FREE", 0);
        unsigned char *states = malloc(pages);
        if (mincore(bytes, pages * PAGE, states) || msync(bytes, pages * PAGE, MS_SYNC))
            fail("mincore, msync", 0);
        free(states);
        /* Parts go, and something else comes. */
        if (munmap(bytes + 64 * PAGE, 64 * PAGE))
            fail("munmap", 64);
        long first = 0;
        char *over = mmap(bytes + 200 * PAGE, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (over != bytes + 200 * PAGE || over[5] != 0 || touch(over + 5, 1) != 0)
            fail("a map over a part", 200);
        /* To the same place, from another place of the file. */
        int fd = open_for(O_RDONLY);
        uint64_t *again = mmap(bytes + 300 * PAGE, 16 * PAGE, PROT_READ, flags | MAP_FIXED, fd, 8 * PAGE);
        close(fd);
        for (long page = 0; page < 16; page++)
            check(again + page * WORDS, 8 + page, version[8 + page], "another part of the file");
        check(at + 316 * WORDS, 316, version[316], "after the other part");
        switch (round % 5) {
        case 0:
            if (mprotect(bytes, 32 * PAGE, PROT_READ | PROT_WRITE)) {
                if (flags == MAP_PRIVATE || errno != EACCES)
                    fail("mprotect", 0);
            } else if (flags == MAP_SHARED) {
                fail("a file was made writable that is open for reading", 0);
            } else {
                stamp(at + WORDS, 1, 77);
                check(at + WORDS, 1, 77, "what was written to a private map");
            }
            break;
        case 1:
            if (mprotect(bytes, 32 * PAGE, PROT_NONE) || touch(bytes, 0) != SIGSEGV)
                fail("mprotect to nothing", 0);
            if (mprotect(bytes, 32 * PAGE, PROT_READ))
                fail("mprotect to reading", 0);
            break;
        case 2: {
            uint64_t *moved = mremap(bytes, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map(flags));
            if (moved == MAP_FAILED)
                fail("mremap", 0);
            for (long page = 0; page < 64; page++)
                check(moved + page * WORDS, page, version[page], "what was moved");
            munmap(moved, pages * PAGE);
            first = 64;
            break;
        }
        case 3:
            if (mlock(bytes, 16 * PAGE) || munlock(bytes, 16 * PAGE))
                fail("mlock", 0);
            break;
        default:
            if (madvise(bytes, 16 * PAGE, MADV_DONTFORK))
                fail("MADV_DONTFORK", 0);
            break;
        }
        for (long page = 400; page < 420; page++)
            check(at + page * WORDS, page, version[page], "the rest");
        /* Not what is gone: something else may be there by now. */
        munmap(bytes + first * PAGE, (64 - first) * PAGE);
        munmap(bytes + 128 * PAGE, (pages - 128) * PAGE);
        /* A map past the end of the file, and one that ends in a page. */
        if (truncate(path, pages * PAGE - 1000))
            fail("truncate", pages);
        uint64_t *longer = map_part(pages - 256, 256 + 64, flags);
        char *last = (char *)longer + 255 * PAGE;
        if (touch(last + PAGE, 0) != SIGBUS || touch(last + 63 * PAGE, 0) != SIGBUS)
            fail("no bus error past the end", pages);
        if (last[PAGE - 1] != 0 || last[PAGE - 1000] != 0 || last[100] != ((char *)(uint64_t[]){word(pages - 1, version[pages - 1], 12)})[4])
            fail("the page in which the file ends", pages);
        fd = open_for(O_WRONLY);
        put(fd, pages - 1, ++version[pages - 1]);
        put(fd, pages, 3);
        close(fd);
        check(longer + 255 * WORDS, pages - 1, version[pages - 1], "the last page, written");
        check(longer + 256 * WORDS, pages, 3, "the page after it, written");
        munmap(longer, 320 * PAGE);
        if (truncate(path, pages * PAGE))
            fail("truncate", pages);
    }
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    path = argv[2], pages = atol(argv[3]) * (1 << 20) / PAGE, rounds = atol(argv[4]);
    version = calloc(pages, sizeof *version);
    struct {
        const char *name;
        void (*run)(void);
    } modes[] = {{"fill", fill}, {"scan", scan}, {"change", change}, {"threads", threads}, {"fork", children}, {"own", own}, {"keep", keep}, {"calls", calls}};
    for (size_t n = 0; n < sizeof modes / sizeof *modes; n++)
        if (strcmp(argv[1], modes[n].name) == 0) {
            modes[n].run();
            puts("every byte was right");
            return 0;
        }
    return 2;
}
