/* A file that is larger than the memory it may take, mapped: its numbers are added up in
 * order, changed, and found on the disk.
 *
 *   cargo build --release -p outcore-library
 *   cc -I crates/library/include examples/c/mapped.c target/release/liboutcore.a \
 *      -lgcc_s -lpthread -lm -ldl -o mapped
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outcore.h"

#define MIB ((size_t)1 << 20)
#define WORDS (32 * MIB / sizeof(uint64_t))

static void stop(const char *what) {
    fprintf(stderr, "%s: %s (%s)\n", what, oc_error(), strerror(errno));
    exit(1);
}

static void refused(int number) {
    if (errno != number)
        stop("another refusal was expected");
    printf("refused: %s\n", oc_error());
}

int main(int count, char **arguments) {
    const char *path = count > 1 ? arguments[1] : "mapped-numbers";
    FILE *file = fopen(path, "wb");
    if (!file)
        return 1;
    for (uint64_t number = 0; number < WORDS; number++)
        if (fwrite(&number, sizeof number, 1, file) != 1)
            return 1;
    if (fclose(file) != 0)
        return 1;

    /* A pager for maps alone, with 4 MiB. */
    oc_config config = { .budget = 4 * MIB };
    oc_heap *heap = oc_heap_new_paged(&config);
    if (!heap)
        stop("oc_heap_new_paged");

    /* What is wrong is told, by errno and in words. */
    if (oc_map_open(heap, "/nowhere/at/all", OC_ACCESS_SHARED, 0, 0))
        return 1;
    refused(ENOENT);
    if (oc_map_open(heap, path, OC_ACCESS_SHARED, 5, 0))
        return 1;
    refused(EINVAL);
    if (oc_map_file(heap, -1, OC_ACCESS_READ_ONLY, 0, 0))
        return 1;
    refused(EBADF);

    oc_map *map = oc_map_open(heap, path, OC_ACCESS_SHARED, 0, 0);
    if (!map)
        stop("oc_map_open");
    if (oc_map_advise(map, 0, 0, OC_ADVICE_SEQUENTIAL) != 0)
        stop("oc_map_advise");
    uint64_t *numbers = oc_map_address(map), sum = 0;
    for (size_t index = 0; index < oc_map_length(map) / sizeof *numbers; index++)
        sum += numbers[index];
    printf("%zu MiB mapped, the sum is %" PRIu64 "\n", oc_map_length(map) / MIB, sum);
    for (size_t index = 0; index < WORDS; index += 512)
        numbers[index] = WORDS - index;
    if (oc_map_flush(map, 0, 0) != 0)
        stop("oc_map_flush");
    if (oc_map_flush(map, oc_map_length(map), 1) != -1)
        return 1;
    refused(EINVAL);

    /* What read(2) finds while the file is still mapped. */
    uint64_t number = 0;
    size_t wrong = 0;
    file = fopen(path, "rb");
    if (!file)
        return 1;
    for (size_t index = 0; index < WORDS; index++) {
        if (fread(&number, sizeof number, 1, file) != 1)
            return 1;
        wrong += number != (index % 512 ? index : WORDS - index);
    }
    fclose(file);
    printf("on the disk: %zu of %zu numbers wrong\n", wrong, WORDS);
    if (oc_map_close(map) != 0)
        stop("oc_map_close");
    oc_heap_drop(heap);
    remove(path);
    return wrong != 0;
}
