/* Memory larger than RAM in C: mappings that are paged, and a heap of families that is.
 *
 *   cargo build --release -p outcore-library
 *   cc -I crates/library/include examples/c/paged.c target/release/liboutcore.a \
 *      -lgcc_s -lpthread -lm -ldl -o paged
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outcore.h"

#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)

static void stop(const char *what) {
    fprintf(stderr, "%s: %s (%s)\n", what, oc_error(), strerror(errno));
    exit(1);
}

static unsigned word(size_t index) {
    return (unsigned)index * 2654435761u + 12345u;
}

/* Four bytes at a time, every one of them. */
static void fill_and_check(const char *name, unsigned *words, size_t bytes) {
    size_t wrong = 0;
    for (size_t index = 0; index < bytes / 4; index++)
        words[index] = word(index);
    for (size_t index = 0; index < bytes / 4; index++)
        wrong += words[index] != word(index);
    printf("%s: %zu MiB written and read, %zu words wrong\n", name, bytes / MIB, wrong);
    if (wrong)
        exit(1);
}

struct node {
    struct node *next;
    size_t number;
    char bytes[240];
};

int main(void) {
    oc_status status;
    oc_config config = { .budget = 8 * MIB, .store_size = 256 * MIB, .commit = OC_COMMIT_STRICT };
    oc_config nowhere = { .budget = 8 * MIB, .store = "/nowhere" };

    /* What is wrong is told, by errno and in words. */
    if (outcore_enable() != -1 || errno != EINVAL)
        return 1;
    printf("refused: %s\n", oc_error());
    if (outcore_init(&nowhere) != -1 || errno != ENOENT)
        return 1;
    printf("refused: %s\n", oc_error());

    if (outcore_init(&config) != 0)
        stop("outcore_init");
    if (outcore_init(&config) != -1 || errno != EALREADY)
        return 1;
    printf("refused: %s\n", oc_error());

    /* Not paged yet. */
    void *kernels = oc_mmap(MIB);
    if (!kernels || outcore_enable() != 0)
        stop("oc_mmap");

    size_t bytes = 64 * MIB;
    unsigned *paged = oc_mmap(bytes);
    if (!paged)
        stop("oc_mmap");
    fill_and_check("mapping", paged, bytes);
    if (outcore_status(&status) != 0)
        stop("outcore_status");
    printf("status: initialized %d, enabled %d, budget %zu MiB, mapped %zu MiB\n", status.initialized,
           status.enabled, status.budget / MIB, status.mapped / MIB);
    printf("within the budget: %s; to the store: %s\n",
           status.resident + status.parked <= status.budget ? "yes" : "no",
           status.swap_outs >= (bytes - status.budget) / PAGE ? "all the rest" : "too little");

    /* The store could not hold as much more. */
    if (oc_mmap(200 * MIB) || errno != ENOMEM)
        return 1;
    printf("refused: %s\n", oc_error());
    /* Parts are given back, and read as zeros nowhere else. */
    if (oc_munmap((char *)paged + 16 * MIB, 32 * MIB) != 0)
        stop("oc_munmap");
    if (oc_munmap((char *)paged + 16 * MIB, PAGE) != -1 || errno != EINVAL)
        return 1;
    if (paged[0] != word(0) || paged[12 * MIB] != word(12 * MIB))
        return 1;
    if (oc_munmap(paged, 16 * MIB) != 0 || oc_munmap((char *)paged + 48 * MIB, 16 * MIB) != 0)
        stop("oc_munmap");
    if (outcore_disable() != 0 || oc_munmap(kernels, MIB) != 0)
        stop("outcore_disable");
    if (outcore_status(&status) != 0)
        stop("outcore_status");
    printf("in the end: enabled %d, mapped %zu, in the store %zu\n", status.enabled, status.mapped,
           status.swapped);

    /* A heap of families with a pager of its own: a list that is four times its budget. */
    oc_heap *heap = oc_heap_new_paged(&config);
    if (!heap)
        stop("oc_heap_new_paged");
    oc_family nodes = oc_register(heap, "node", sizeof(struct node), 0);
    struct node *first = NULL;
    size_t count = 32 * MIB / sizeof(struct node);
    for (size_t number = 0; number < count; number++) {
        struct node *node = oc_malloc(heap, nodes, 1);
        if (!node)
            stop("oc_malloc");
        node->next = first;
        node->number = number;
        memset(node->bytes, (int)number, sizeof node->bytes);
        first = node;
    }
    size_t right = 0;
    while (first) {
        struct node *node = first;
        first = node->next;
        right += node->number == count - 1 - right && node->bytes[239] == (char)node->number;
        if (oc_free(heap, node) != 0)
            stop("oc_free");
    }
    printf("list: %zu nodes of %zu right\n", right, count);
    if (oc_check(heap) != 0)
        stop("oc_check");
    oc_heap_drop(heap);
    return right == count ? 0 : 1;
}
