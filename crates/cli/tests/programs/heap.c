/* What malloc promises, seen by a C program. Each check ends with exit status 0, or says
   what is wrong and aborts. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Called through variables, so that the compiler assumes nothing of them. */
static void *(*volatile alloc)(size_t) = malloc;
static void *(*volatile again)(void *, size_t) = realloc;
static void *(*volatile zeroed)(size_t, size_t) = calloc;
static void *(*volatile array)(void *, size_t, size_t) = reallocarray;
static void (*volatile release)(void *) = free;

#define CHECK(c) do { if (!(c)) { fprintf(stderr, "line %d: %s\n", __LINE__, #c); _exit(3); } } while (0)
#define MIB (1ul << 20)

static uint64_t state = 88172645463325252ull;
static uint64_t next(void) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return state; }

/* Page faults of any kind so far. */
static long faults(void) { struct rusage u; CHECK(!getrusage(RUSAGE_SELF, &u)); return u.ru_majflt + u.ru_minflt; }

/* Of the process, in bytes. */
static size_t resident(void) {
    char text[128] = {0};
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fgets(text, sizeof text, file));
    fclose(file);
    return strtoul(strchr(text, ' '), NULL, 10) * 4096;
}

/* A million objects, four times as many as fit, freed in random order. The list is not paged. */
static void cold(void) {
    size_t count = 1000000;
    void **list = mmap(NULL, count * sizeof *list, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(list != MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        size_t size = 64 + next() % 400;
        list[i] = alloc(size);
        memset(list[i], (int)i, size);
    }
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = next() % (i + 1);
        void *one = list[i]; list[i] = list[j]; list[j] = one;
    }
    long before = faults();
    for (size_t i = 0; i < count; i++) release(list[i]);
    long after = faults();
    printf("%ld faults\n", after - before);
}

/* Touches objects that mostly are not in memory, without or with giving them up for others. */
static void churn(int frees) {
    size_t count = 1000000, touches = 40000;
    void **list = mmap(NULL, count * sizeof *list, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(list != MAP_FAILED);
    for (size_t i = 0; i < count; i++) {
        size_t size = 64 + next() % 400;
        list[i] = alloc(size);
        *(uint64_t *)list[i] = i;
    }
    /* What the first round of the same touches leaves in memory is where both begin. */
    uint64_t kept = state;
    for (int round = 0; round < 2; round++) {
        state = kept;
        long before = faults();
        for (size_t k = 0; k < touches; k++) {
            size_t i = next() % count, size = 64 + next() % 400;
            CHECK(*(uint64_t *)list[i] == i);
            if (frees && round) {
                void *fresh = alloc(size);
                release(list[i]);
                list[i] = fresh;
            }
            *(uint64_t *)list[i] = i;
        }
        if (round) printf("%ld faults\n", faults() - before);
    }
}

/* Pages whose objects are free, but for one in eight: what then has to leave memory is
   dropped, not written. */
static void unused(void) {
    size_t size = 4000, count = 50 * MIB / 4096;
    char **list = mmap(NULL, count * sizeof *list, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(list != MAP_FAILED);
    for (size_t i = 0; i < count; i++) { list[i] = alloc(size); for (size_t k = 0; k < size; k++) list[i][k] = (char)next(); }
    for (size_t i = 0; i < count; i++) if (i % 8) release(list[i]);
    /* What one thread keeps at hand counts as used. */
    malloc_trim(0);
    size_t more = 48 * MIB;
    char *block = alloc(more);
    for (size_t i = 0; i < more; i += 8) *(uint64_t *)(block + i) = i ^ 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < more; i += 8) CHECK(*(uint64_t *)(block + i) == (i ^ 0x9e3779b97f4a7c15));
    for (size_t i = 0; i < count; i += 8) { char *fresh = alloc(size); memset(fresh, 1, size); release(list[i]); list[i] = fresh; }
}

static void stats(void) {
    /* stdio's buffers are made first. */
    fprintf(stderr, "begin\n"); printf("begin\n"); fflush(stdout);
    struct mallinfo2 before = mallinfo2();
    size_t count = 10000;
    void **list = alloc(count * sizeof *list);
    for (size_t i = 0; i < count; i++) { list[i] = alloc(100); CHECK(malloc_usable_size(list[i]) == 112); }
    char *large = alloc(3 * MIB + 5);
    CHECK(malloc_usable_size(large) == 3 * MIB + 4096);
    struct mallinfo2 full = mallinfo2();
    size_t list_bytes = malloc_usable_size(list);
    /* The C library may have something of a few bytes besides. */
    long more = (long)(full.uordblks - before.uordblks) - (long)(count * 112 + list_bytes + 3 * MIB + 4096);
    CHECK(more > -256 && more < 256);
    CHECK(full.hblks - before.hblks == 2 && full.hblkhd - before.hblkhd == list_bytes + 3 * MIB + 4096);
    CHECK(full.arena >= full.uordblks && full.arena == full.uordblks + full.fordblks);
    /* malloc_info says the same. */
    char text[16384] = {0};
    FILE *file = tmpfile();
    CHECK(file && !malloc_info(0, file));
    rewind(file);
    CHECK(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    unsigned long spans, used, free_objects;
    char *at = strstr(text, "<size bytes=\"112\"");
    CHECK(at && sscanf(at, "<size bytes=\"112\" spans=\"%lu\" used=\"%lu\" free=\"%lu\"", &spans, &used, &free_objects) == 3);
    CHECK(used >= count && used < count + 200 && spans * 65536 >= (used + free_objects) * 112);
    CHECK(strstr(text, "<large count=\"2\"") && strstr(text, "</malloc>"));
    CHECK(malloc_info(1, stderr) == -1 && errno == EINVAL);
    malloc_stats();
    for (size_t i = 0; i < count; i++) release(list[i]);
    memset(large, 1, 3 * MIB);
    release(large);
    release(list);
    struct mallinfo2 after = mallinfo2();
    /* What stdio keeps may have changed. */
    CHECK(after.uordblks < before.uordblks + 8192 && before.uordblks < after.uordblks + 8192);
    CHECK(after.hblks == before.hblks);
    CHECK(after.keepcost >= 3 * MIB);
    size_t with = resident();
    CHECK(malloc_trim(0) == 1 && malloc_trim(0) == 0);
    CHECK(mallinfo2().keepcost == 0);
    /* The kernel counts pages in batches. */
    CHECK(resident() + 2 * MIB <= with);
}

/* An array grows where it cannot grow in place, out of core: its pages move, not its bytes. */
static void grow(void) {
    size_t size = 8 * MIB;
    uint64_t *items = alloc(size);
    for (size_t i = 0; i < size / 8; i++) items[i] = i * 3;
    uint64_t *first = items;
    int moves = 0;
    long moving = 0;
    while (size < 256 * MIB) {
        size_t before = size;
        size = size * 9 / 8 / 4096 * 4096;
        long then = faults();
        uint64_t *grown = again(items, size);
        moving += faults() - then;
        CHECK(grown);
        /* Never touched: what is behind the array has to be somebody's. */
        if (grown != items || !moves) CHECK(alloc(400 * MIB));
        moves += grown != items;
        items = grown;
        for (size_t i = before / 8; i < size / 8; i++) items[i] = i * 3;
    }
    CHECK(items != first && moves >= 2);
    for (size_t i = 0; i < size / 8; i++) CHECK(items[i] == i * 3);
    printf("%d moves\n%ld faults\n", moves, moving);
    /* What it left behind is used again, and is not what it was. */
    for (int i = 0; i < 20; i++) {
        uint64_t *zero = zeroed(1, 4 * MIB);
        for (size_t k = 0; k < 4 * MIB / 8; k++) CHECK(!zero[k]);
    }
}

static void align(void) {
    for (size_t align = 16; align <= 64 * MIB; align *= 2) {
        for (size_t size = 1; size <= 3 * MIB; size = size * 5 + 3) {
            void *one = memalign(align, size), *two = NULL, *three = NULL;
            CHECK(one && !((uintptr_t)one % align) && malloc_usable_size(one) >= size);
            CHECK(!posix_memalign(&two, align, size) && !((uintptr_t)two % align));
            CHECK((three = aligned_alloc(align, size)) && !((uintptr_t)three % align));
            memset(one, 1, size); memset(two, 2, size); memset(three, 3, size);
            CHECK(((char *)one)[size - 1] == 1 && ((char *)two)[size - 1] == 2);
            release(two); release(one); release(three);
        }
    }
    void *none = &none;
    CHECK(posix_memalign(&none, 24, 8) == EINVAL && posix_memalign(&none, 4, 8) == EINVAL && none == &none);
    CHECK(posix_memalign(&none, 64, SIZE_MAX) == ENOMEM && none == &none);
    CHECK(!aligned_alloc(24, 48) && errno == EINVAL);
    errno = 0;
    CHECK(!alloc(SIZE_MAX) && errno == ENOMEM);
    volatile size_t huge = SIZE_MAX / 2;
    CHECK(!zeroed(huge, 3) && errno == ENOMEM && !array(NULL, huge, 3) && errno == ENOMEM);
    CHECK(!alloc(PTRDIFF_MAX) && !pvalloc(SIZE_MAX - 10));
    void *empty = alloc(0);
    CHECK(empty && alloc(0) != empty);
    errno = 7;
    release(empty); release(NULL);
    CHECK(errno == 7);
}

static void *busy(void *stop) {
    while (!*(volatile int *)stop) {
        void *list[64];
        for (int i = 0; i < 64; i++) { list[i] = alloc(1 + next() % 60000); *(char *)list[i] = 1; }
        for (int i = 0; i < 64; i++) release(list[i]);
    }
    return NULL;
}

/* Children of a process whose other threads are inside malloc. */
static void forks(void) {
    static int stop;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, busy, &stop));
    char *kept = alloc(100000);
    memset(kept, 7, 100000);
    for (int round = 0; round < 100; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (!child) {
            CHECK(kept[99999] == 7);
            release(kept);
            for (int i = 0; i < 2000; i++) { char *p = alloc(1 + next() % 100000); *p = 1; if (i % 3) release(p); }
            malloc_trim(0);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    stop = 1;
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

static void misuse(const char *kind) {
    char local[64], *block = alloc(100), *large = alloc(1000000);
    printf("%p\n%p\n", (void *)block, (void *)large);
    fflush(stdout);
    if (!strcmp(kind, "double")) { release(block); release(block); }
    if (!strcmp(kind, "double-later")) {
        release(block);
        void *list[400];
        for (int i = 0; i < 400; i++) list[i] = alloc(100);
        for (int i = 0; i < 400; i++) release(list[i]);
        for (int i = 0; i < 400; i++) release(list[i]);
    }
    if (!strcmp(kind, "double-large")) { release(large); release(large); }
    if (!strcmp(kind, "interior")) release(block + 16);
    if (!strcmp(kind, "interior-large")) release(large + 70000);
    if (!strcmp(kind, "realloc-freed")) { release(block); malloc_trim(0); block = again(block, 50); }
    if (!strcmp(kind, "realloc-foreign")) block = again(local, 50);
    _exit(9);
}

int main(int count, char **words) {
    CHECK(count > 1);
    const char *what = words[1];
    if (!strcmp(what, "cold")) cold();
    else if (!strcmp(what, "touch")) churn(0);
    else if (!strcmp(what, "churn")) churn(1);
    else if (!strcmp(what, "unused")) unused();
    else if (!strcmp(what, "stats")) stats();
    else if (!strcmp(what, "grow")) grow();
    else if (!strcmp(what, "align")) align();
    else if (!strcmp(what, "forks")) forks();
    else misuse(what);
    return 0;
}
