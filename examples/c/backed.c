/* Memory whose pages a program supplies: numbers that are computed, and notes that are kept
 * elsewhere.
 *
 *   cargo build --release -p outcore-library
 *   cc -I crates/library/include examples/c/backed.c target/release/liboutcore.a \
 *      -lgcc_s -lpthread -lm -ldl -o backed
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "outcore.h"

#define MIB ((size_t)1 << 20)
#define NUMBERS (8 * MIB)

static int ended;

static void stop(const char *what) {
    fprintf(stderr, "%s: %s (%s)\n", what, oc_error(), strerror(errno));
    exit(1);
}

static int square(const oc_call *call, void *context, uint64_t offset, void *bytes, size_t length) {
    uint64_t *numbers = bytes;
    (void)call;
    (void)context;
    for (size_t index = 0; index < length / 8; index++)
        numbers[index] = (offset / 8 + index) * (offset / 8 + index);
    return 0;
}

/* Each map's last call; no two come at once here. */
static void end(void *context) {
    (void)context;
    __atomic_add_fetch(&ended, 1, __ATOMIC_SEQ_CST);
}

struct shelf {
    char notes[8192];
    int is_full;
};

static int look(const oc_call *call, void *context, uint64_t offset, void *bytes, size_t length) {
    struct shelf *shelf = context;
    if (oc_call_is_cancelled(call))
        return ECANCELED;
    memcpy(bytes, shelf->notes + offset, length);
    return 0;
}

static int keep(const oc_call *call, void *context, uint64_t offset, const void *bytes, size_t length) {
    struct shelf *shelf = context;
    (void)call;
    if (shelf->is_full)
        return ENOSPC;
    memcpy(shelf->notes + offset, bytes, length);
    return 0;
}

int main(void) {
    static struct shelf shelf = { .is_full = 1 };
    oc_config config = { .budget = 8 * MIB };
    oc_backing squares = { .supply = square, .end = end, .name = "the squares", .threads = 1 };
    oc_backing notes = { .context = &shelf, .supply = look, .take_back = keep, .end = end,
                         .name = "the shelf", .sharing = OC_SHARING_SHARED };
    oc_backing nothing = { .name = "nothing" };

    if (outcore_init(&config) != 0)
        stop("outcore_init");
    if (oc_map_backing(&nothing, MIB) != NULL || errno != EINVAL)
        return 1;
    printf("refused: %s\n", oc_error());
    /* Where there was no map, nothing ends. */
    if (oc_map_backing(&squares, 0) != NULL || ended != 0)
        return 1;

    uint64_t *numbers = oc_map_backing(&squares, NUMBERS * 8);
    if (!numbers)
        stop("oc_map_backing");
    size_t right = 0;
    for (uint64_t index = 0; index < NUMBERS; index++)
        right += numbers[index] == index * index;
    printf("squares: %zu of %zu right, %zu MiB in a budget of 8\n", right, NUMBERS, NUMBERS * 8 / MIB);
    if (oc_unmap_backing(numbers) != 0)
        stop("oc_unmap_backing");

    /* What is not taken back stays in memory, and is taken back later. */
    char *text = oc_map_backing(&notes, sizeof shelf.notes);
    if (!text)
        stop("oc_map_backing");
    strcpy(text, "changed");
    if (oc_flush_backing(text) != -1)
        return 1;
    printf("notes: refused by the shelf, and still there: %s\n", text);
    shelf.is_full = 0;
    if (oc_flush_backing(text) != 0)
        stop("oc_flush_backing");
    printf("notes: taken back: %s\n", shelf.notes);
    if (oc_cancel_backing(text) != 0 || oc_unmap_backing(text) != 0)
        stop("oc_unmap_backing");
    if (oc_unmap_backing(text) != -1 || errno != EINVAL)
        return 1;

    /* The threads end when they have nothing to do. */
    for (int tries = 0; __atomic_load_n(&ended, __ATOMIC_SEQ_CST) < 2 && tries < 5000; tries++)
        usleep(1000);
    printf("ended: %d of 2\n", __atomic_load_n(&ended, __ATOMIC_SEQ_CST));
    return 0;
}
