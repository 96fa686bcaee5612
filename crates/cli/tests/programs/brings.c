// What unmodified programs bring, one check at a time, while twice the budget of
// other memory is written over and over, so that every page of a check has left
// memory before it is looked at again. Prints the name of what fails.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20 };

static size_t pressure_bytes;
static uint64_t *pressure;
static int failures, limited;

static void fail(const char *what, const char *detail) {
    printf("%s: %s (errno %d)\n", what, detail, errno);
    failures++;
}

#define CHECK(what, condition) \
    do { \
        if (!(condition)) fail(what, #condition); \
    } while (0)

// Writes and checks more than the budget: what was in memory before is not any more.
static void press(void) {
    static uint64_t round;
    size_t step = PAGE / sizeof *pressure, count = pressure_bytes / sizeof *pressure;
    for (size_t i = 0; i < count; i += step) {
        if (round && pressure[i] != i * 31 + round) fail("pressure", "a word changed");
        pressure[i] = i * 31 + round + 1;
        pressure[i + 7] = i;
    }
    round++;
}

static char *map(size_t len, int prot) {
    char *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return p;
}

static void fill(char *p, size_t len, unsigned seed) {
    for (size_t i = 0; i < len; i++) p[i] = (char)((i * 2654435761u) >> 13 ^ seed ^ i >> 12);
}

static int is_filled(const char *p, size_t len, unsigned seed) {
    for (size_t i = 0; i < len; i++)
        if (p[i] != (char)((i * 2654435761u) >> 13 ^ seed ^ i >> 12)) return 0;
    return 1;
}

static int is_zero(const char *p, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (p[i]) return 0;
    return 1;
}

static void check_mlock(void) {
    char *p = map(2 * MIB, PROT_READ | PROT_WRITE);
    fill(p, 2 * MIB, 1);
    CHECK("mlock", mlock(p, 2 * MIB) == 0);
    press();
    CHECK("mlock", is_filled(p, 2 * MIB, 1));
    CHECK("munlock", munlock(p, 2 * MIB) == 0);
    CHECK("mlock2", mlock2(p, 2 * MIB, MLOCK_ONFAULT) == 0);
    CHECK("munlock", munlock(p, 2 * MIB) == 0);
    size_t much = pressure_bytes;
    char *q = map(much, PROT_READ | PROT_WRITE);
    errno = 0;
    if (limited) CHECK("mlock beyond the budget", mlock(q, much) == -1 && errno == ENOMEM);
    errno = 0;
    if (limited) CHECK("mlockall", mlockall(MCL_CURRENT) == -1 && errno == ENOMEM);
    munmap(q, much);
    munmap(p, 2 * MIB);
}

static void check_madvise(void) {
    static const int harmless[] = {MADV_NORMAL,     MADV_RANDOM,   MADV_SEQUENTIAL, MADV_WILLNEED, MADV_HUGEPAGE,
                                   MADV_NOHUGEPAGE, MADV_COLD,     MADV_PAGEOUT,    MADV_DONTDUMP, MADV_DODUMP,
                                   MADV_DONTFORK,   MADV_DOFORK,   MADV_MERGEABLE,  MADV_UNMERGEABLE,
                                   MADV_POPULATE_READ, MADV_POPULATE_WRITE};
    char *p = map(2 * MIB, PROT_READ | PROT_WRITE);
    fill(p, 2 * MIB, 2);
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (i % 4 == 0) press();
        madvise(p, 2 * MIB, harmless[i]);
        CHECK("madvise", is_filled(p, 2 * MIB, 2));
    }
    press();
    CHECK("MADV_DONTNEED", madvise(p + MIB, MIB / 2, MADV_DONTNEED) == 0);
    CHECK("MADV_DONTNEED", is_zero(p + MIB, MIB / 2));
    CHECK("MADV_DONTNEED", is_filled(p, MIB, 2));
    p[MIB] = 1;
    press();
    CHECK("after MADV_DONTNEED", p[MIB] == 1 && is_zero(p + MIB + 1, MIB / 2 - 1));
    CHECK("MADV_FREE", madvise(p, MIB, MADV_FREE) == 0);
    press();
    CHECK("MADV_FREE", is_zero(p, MIB) || is_filled(p, MIB, 2));
    // Past the preload library, as a language's own runtime does it.
    fill(p, MIB, 3);
    press();
    CHECK("raw MADV_DONTNEED", syscall(SYS_madvise, p, MIB, MADV_DONTNEED) == 0);
    CHECK("raw MADV_DONTNEED", is_zero(p, MIB));
    munmap(p, 2 * MIB);
}

static void check_protections(void) {
    static const int rights[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_EXEC};
    for (int i = 0; i < 3; i++) {
        char *p = map(2 * MIB, PROT_READ | PROT_WRITE);
        fill(p, 2 * MIB, 10 + i);
        CHECK("mprotect", mprotect(p + MIB, MIB, rights[i]) == 0);
        press();
        if (rights[i] != PROT_NONE) CHECK("mprotect: read", is_filled(p, 2 * MIB, 10 + i));
        CHECK("mprotect back", mprotect(p + MIB, MIB, PROT_READ | PROT_WRITE) == 0);
        press();
        CHECK("mprotect back", is_filled(p, 2 * MIB, 10 + i));
        munmap(p, 2 * MIB);
    }
    // Reserved first, committed later, as virtual machines do.
    char *p = map((size_t)4 << 30, PROT_NONE);
    CHECK("commit", mprotect(p + ((size_t)1 << 30), 2 * MIB, PROT_READ | PROT_WRITE) == 0);
    fill(p + ((size_t)1 << 30), 2 * MIB, 20);
    press();
    CHECK("commit", is_filled(p + ((size_t)1 << 30), 2 * MIB, 20));
    munmap(p, (size_t)4 << 30);
}

static void check_mappings(void) {
    char *p = map(4 * MIB, PROT_READ | PROT_WRITE);
    fill(p, 4 * MIB, 30);
    press();
    char *q = mmap(p + MIB, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK("MAP_FIXED", q == p + MIB && is_zero(q, MIB));
    CHECK("munmap of a part", munmap(p + 3 * MIB, MIB) == 0);
    press();
    CHECK("MAP_FIXED", is_filled(p, MIB, 30) && is_zero(p + MIB, MIB));
    unsigned char in_core[256];
    CHECK("mincore", mincore(p, MIB, in_core) == 0);

    char *grown = mremap(p, MIB, 3 * MIB, MREMAP_MAYMOVE);
    CHECK("mremap", grown != MAP_FAILED && is_filled(grown, MIB, 30) && is_zero(grown + MIB, 2 * MIB));
    press();
    grown = mremap(grown, 3 * MIB, MIB / 2, 0);
    CHECK("mremap", grown != MAP_FAILED && is_filled(grown, MIB / 2, 30));
    press();
    char *left = mremap(grown, MIB / 2, MIB / 2, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    CHECK("MREMAP_DONTUNMAP", left != MAP_FAILED && is_filled(left, MIB / 2, 30) && is_zero(grown, MIB / 2));
    press();
    CHECK("MREMAP_DONTUNMAP", is_filled(left, MIB / 2, 30) && is_zero(grown, MIB / 2));

    char *reserved = mmap(NULL, (size_t)100 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK("100 GiB reserved", reserved != MAP_FAILED);
    for (size_t i = 0; i < 50; i++) fill(reserved + (i << 31), PAGE, 40 + i);
    press();
    for (size_t i = 0; i < 50; i++) CHECK("100 GiB reserved", is_filled(reserved + (i << 31), PAGE, 40 + i));
    munmap(reserved, (size_t)100 << 30);

    char *old_break = sbrk(2 * MIB);
    CHECK("sbrk", old_break != (void *)-1);
    fill(old_break, 2 * MIB, 33);
    press();
    CHECK("sbrk", is_filled(old_break, 2 * MIB, 33));
}

static void check_io(void) {
    char name[] = "/var/tmp/outcore-brings-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    char *p = map(2 * MIB, PROT_READ | PROT_WRITE), *q = map(2 * MIB, PROT_READ | PROT_WRITE);
    fill(p, 2 * MIB, 50);
    press();
    CHECK("write", pwrite(fd, p, 2 * MIB, 0) == 2 * MIB);
    press();
    CHECK("read", pread(fd, q, 2 * MIB, 0) == 2 * MIB);
    press();
    CHECK("read", is_filled(q, 2 * MIB, 50));
    fsync(fd);
    if (fcntl(fd, F_SETFL, O_DIRECT) == 0) {
        memset(q, 0, 2 * MIB);
        press();
        CHECK("O_DIRECT write", pwrite(fd, p, 2 * MIB, 2 * MIB) == 2 * MIB);
        CHECK("O_DIRECT read", pread(fd, q, 2 * MIB, 2 * MIB) == 2 * MIB);
        press();
        CHECK("O_DIRECT read", is_filled(q, 2 * MIB, 50));
    }
    close(fd);

    struct iovec from = {p, 2 * MIB}, to = {q, 2 * MIB};
    memset(q, 0, 2 * MIB);
    press();
    CHECK("process_vm_readv", process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 2 * MIB);
    CHECK("process_vm_readv", is_filled(q, 2 * MIB, 50));

    // As a debugger reads: what is in the store is refused, and never read as zeros.
    int memory = open("/proc/self/mem", O_RDONLY);
    press();
    ssize_t got = pread(memory, q, 2 * MIB, (off_t)(uintptr_t)p);
    CHECK("/proc/self/mem", got == -1 ? errno == EIO : is_filled(q, got, 50));
    close(memory);
}

// The reader comes late: until then the bytes that were sent must stay.
static void check_late_readers(void) {
    int ends[2];
    char *p = map(64 * 1024, PROT_READ | PROT_WRITE), *q = map(64 * 1024, PROT_READ | PROT_WRITE);
    fill(p, 64 * 1024, 60);
    CHECK("pipe", pipe(ends) == 0);
    struct iovec piece = {p, 32 * 1024};
    press();
    CHECK("vmsplice", vmsplice(ends[1], &piece, 1, 0) == 32 * 1024);
    press();
    press();
    CHECK("vmsplice", read(ends[0], q, 32 * 1024) == 32 * 1024 && is_filled(q, 32 * 1024, 60));
    close(ends[0]);
    close(ends[1]);

    int sockets[2], one = 1;
    CHECK("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    CHECK("send", send(sockets[0], p, 32 * 1024, MSG_DONTWAIT) > 0);
    // Refused or honoured, what arrives must be what was sent.
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    if (setsockopt(tcp, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) == 0) fputs("zero-copy sends are on\n", stderr);
    close(tcp);
    press();
    CHECK("socket", read(sockets[1], q, 4096) == 4096 && is_filled(q, 4096, 60));
}

// A send that holds the program's pages by reference, to a receiver that reads late.
static void check_zero_copy(void) {
    enum { LEN = 32 * 1024 };
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0), sender = socket(AF_INET, SOCK_STREAM, 0);
    CHECK("bind", bind(server, (struct sockaddr *)&here, size) == 0 && listen(server, 1) == 0);
    CHECK("getsockname", getsockname(server, (struct sockaddr *)&here, &size) == 0);
    CHECK("connect", connect(sender, (struct sockaddr *)&here, size) == 0);
    int receiver = accept(server, NULL, NULL);
    CHECK("SO_ZEROCOPY", setsockopt(sender, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) == 0);
    char *p = map(LEN, PROT_READ | PROT_WRITE), *q = malloc(LEN);
    fill(p, LEN, 70);
    CHECK("MSG_ZEROCOPY", send(sender, p, LEN, MSG_ZEROCOPY) == LEN);
    press();
    press();
    CHECK("MSG_ZEROCOPY", recv(receiver, q, LEN, MSG_WAITALL) == LEN && is_filled(q, LEN, 70));
    CHECK("MSG_ZEROCOPY", is_filled(p, LEN, 70));
    close(receiver);
    close(sender);
    close(server);
}

// A ring of the program's own, used by raw system calls.
struct ring {
    int fd;
    unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static int ring_open(struct ring *r) {
    struct io_uring_params params = {0};
    r->fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (r->fd < 0) return 0;
    size_t sq_len = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_len = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, sq_len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, cq_len, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
    r->sqes = mmap(NULL, params.sq_entries * sizeof *r->sqes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQES);
    r->sq_tail = (unsigned *)(sq + params.sq_off.tail);
    r->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
    r->sq_array = (unsigned *)(sq + params.sq_off.array);
    r->cq_head = (unsigned *)(cq + params.cq_off.head);
    r->cq_tail = (unsigned *)(cq + params.cq_off.tail);
    r->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
    r->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
    return 1;
}

static int ring_transfer(struct ring *r, int operation, int file, char *buffer, unsigned len) {
    unsigned tail = *r->sq_tail, index = tail & *r->sq_mask;
    r->sqes[index] = (struct io_uring_sqe){.opcode = (uint8_t)operation, .fd = file, .addr = (uintptr_t)buffer, .len = len};
    r->sq_array[index] = index;
    __atomic_store_n(r->sq_tail, tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1) return -errno;
    unsigned head = *r->cq_head;
    while (head == __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE)) usleep(100);
    int result = r->cqes[head & *r->cq_mask].res;
    __atomic_store_n(r->cq_head, head + 1, __ATOMIC_RELEASE);
    return result;
}

static void check_own_ring(void) {
    enum { LEN = 256 * 1024 };
    struct ring ring;
    if (!ring_open(&ring)) {
        fputs("io_uring is forbidden here\n", stderr);
        return;
    }
    int file = open("/var/tmp", O_TMPFILE | O_RDWR, 0600);
    char *p = map(LEN, PROT_READ | PROT_WRITE), *q = malloc(LEN);
    fill(p, LEN, 80);
    press();
    CHECK("io_uring write", ring_transfer(&ring, IORING_OP_WRITE, file, p, LEN) == LEN);
    CHECK("io_uring write", pread(file, q, LEN, 0) == LEN && is_filled(q, LEN, 80));
    memset(p, 0x55, LEN);
    press();
    CHECK("io_uring read", ring_transfer(&ring, IORING_OP_READ, file, p, LEN) == LEN);
    press();
    CHECK("io_uring read", is_filled(p, LEN, 80));
    // Registered buffers are pinned: the device writes where they are, and they stay.
    memset(p, 0x55, LEN);
    press();
    struct iovec piece = {p, LEN};
    CHECK("register", syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &piece, 1) == 0);
    press();
    CHECK("READ_FIXED", ring_transfer(&ring, IORING_OP_READ_FIXED, file, p, LEN) == LEN);
    CHECK("READ_FIXED", is_filled(p, LEN, 80));
    press();
    CHECK("READ_FIXED", is_filled(p, LEN, 80));
    CHECK("register", syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_BUFFERS, NULL, 0) == 0);
    press();
    CHECK("READ_FIXED", is_filled(p, LEN, 80));
    close(file);
    close(ring.fd);
    munmap(p, LEN);
}

// Paged memory has one userfaultfd, and it is not the program's.
static void check_own_userfaultfd(void) {
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API};
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) != 0) {
        fputs("userfaultfd(2) is forbidden here\n", stderr);
        return;
    }
    char *p = map(MIB, PROT_READ | PROT_WRITE);
    struct uffdio_register range = {.range = {(uintptr_t)p, MIB}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    errno = 0;
    int registered = ioctl(fd, UFFDIO_REGISTER, &range);
    if (limited) CHECK("userfaultfd", registered == -1 && errno == EBUSY);
    close(fd);
    fill(p, MIB, 90);
    press();
    CHECK("userfaultfd", is_filled(p, MIB, 90));
    munmap(p, MIB);
}

static uint32_t *futex_word;

static void *wake_futex(void *unused) {
    (void)unused;
    usleep(100000);
    press();
    *futex_word = 1;
    syscall(SYS_futex, futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    return NULL;
}

static void check_futex(void) {
    pthread_t thread;
    futex_word = (uint32_t *)map(64 * 1024, PROT_READ | PROT_WRITE);
    *futex_word = 0;
    press();
    pthread_create(&thread, NULL, wake_futex, NULL);
    while (__atomic_load_n(futex_word, __ATOMIC_SEQ_CST) == 0)
        syscall(SYS_futex, futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    pthread_join(thread, NULL);
}

static void *touch_and_leave(void *page) {
    *(volatile char *)page += 1;
    return NULL;
}

static void check_threads(void) {
    char *p = map(1000 * PAGE, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 1000; i++) p[i * PAGE] = 5;
    press();
    for (int batch = 0; batch < 10; batch++) {
        pthread_t threads[100];
        for (int i = 0; i < 100; i++) CHECK("thread", pthread_create(&threads[i], NULL, touch_and_leave, p + (batch * 100 + i) * PAGE) == 0);
        for (int i = 0; i < 100; i++) pthread_join(threads[i], NULL);
    }
    press();
    for (int i = 0; i < 1000; i++) CHECK("thread", p[i * PAGE] == 6);
}

static char *handled;
static volatile sig_atomic_t signals;

static void handler(int signal) {
    (void)signal;
    handled[signals % 64 * PAGE]++;
    signals++;
}

static void check_signals(void) {
    handled = map(64 * PAGE, PROT_READ | PROT_WRITE);
    stack_t stack = {.ss_sp = malloc(256 * 1024), .ss_size = 256 * 1024};
    CHECK("sigaltstack", sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    CHECK("sigaction", sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 128; i++) {
        if (i % 32 == 0) press();
        raise(SIGUSR1);
    }
    for (int i = 0; i < 64; i++) CHECK("signal", handled[i * PAGE] == 2);
    // A stack that the program may put its handlers on must not be freed under them.
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
}

static void check_stop(void) {
    char *p = map(MIB, PROT_READ | PROT_WRITE);
    fill(p, MIB, 70);
    pid_t parent = getpid();
    char command[64];
    snprintf(command, sizeof command, "kill -STOP %d; sleep 0.2; kill -CONT %d", parent, parent);
    CHECK("SIGSTOP", system(command) == 0);
    press();
    CHECK("SIGCONT", is_filled(p, MIB, 70));
}

static void check_limits(void) {
    struct rlimit few = {16, 16}, before;
    getrlimit(RLIMIT_NOFILE, &before);
    few.rlim_max = before.rlim_max;
    CHECK("RLIMIT_NOFILE", setrlimit(RLIMIT_NOFILE, &few) == 0);
    press();
    setrlimit(RLIMIT_NOFILE, &before);
    for (int fd = 3; fd < 1024; fd++) close(fd);
    press();
    CHECK("chroot", geteuid() != 0 || (chroot("/var/tmp") == 0 && chdir("/") == 0));
    press();
    if (geteuid() == 0) CHECK("setuid", setgid(65534) == 0 && setuid(65534) == 0);
    press();
}

static void at_the_end(void) {
    press();
    puts(failures ? "failed" : "all is well");
}

int main(int argc, char **argv) {
    limited = getenv("LD_PRELOAD") != NULL;
    pressure_bytes = (size_t)(argc > 1 ? atoi(argv[1]) : 64) * MIB;
    setvbuf(stdout, NULL, _IOLBF, 0);
    pressure = malloc(pressure_bytes);
    press();
    atexit(at_the_end);
    check_mlock();
    check_madvise();
    check_protections();
    check_mappings();
    check_io();
    check_late_readers();
    check_zero_copy();
    check_own_ring();
    check_own_userfaultfd();
    check_futex();
    check_threads();
    check_signals();
    check_stop();
    check_limits();
    return failures != 0;
}
