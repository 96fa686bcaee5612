/* Every call of the interface, as a C program makes them. Exits with the line of what is wrong. */

#include "outcore_pm.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096
#define FRAMES 5
#define PAGES 10
#define THREADS 12
#define ROUNDS 200

#define CHECK(what)                                                                        \
    do {                                                                                   \
        if (!(what)) {                                                                     \
            fprintf(stderr, "line %d: %s (last failure: %s)\n", __LINE__, #what, pm_message()); \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

static void fill(unsigned char *bytes, unsigned seed)
{
    for (size_t n = 0; n < PAGE; n++)
        bytes[n] = (unsigned char)(seed * 31 + n * 7 + (n >> 8));
}

/* Twelve requests of one page: ten are served. */
static void twelve_requests(void)
{
    pm_handle blocks[12];
    unsigned char bytes[PAGE], expected[PAGE];

    for (int n = 0; n < 12; n++)
        blocks[n] = pm_malloc(PAGE);
    for (int n = 0; n < PAGES; n++)
        CHECK(blocks[n] != NULL);
    CHECK(blocks[10] == NULL && blocks[11] == NULL && pm_last_error() == PM_EFULL);
    CHECK(pm_is_full(PM_VIRTUAL) == 1 && pm_is_full(PM_PHYSICAL) == 0);
    CHECK(pm_available(PM_VIRTUAL) == 0 && pm_available(PM_PHYSICAL) == FRAMES * PAGE);
    for (unsigned n = 0; n < PAGES; n++) {
        unsigned char *address = pm_check(blocks[n]);
        CHECK(address != NULL && (uintptr_t)address % 64 == 0);
        for (size_t at = 0; at < PAGE; at++)
            CHECK(address[at] == 0);
        fill(address, n);
    }
    CHECK(pm_is_full(PM_PHYSICAL) == 1);
    for (int round = 0; round < 3; round++)
        for (unsigned n = 0; n < PAGES; n++) {
            fill(expected, n);
            CHECK(pm_read(blocks[n], 0, bytes, PAGE) == 0);
            CHECK(memcmp(bytes, expected, PAGE) == 0);
            CHECK(memcmp(pm_check(blocks[n]), expected, PAGE) == 0);
        }
    CHECK(pm_free(blocks[4]) == 0);
    CHECK(pm_free(blocks[4]) == -1 && pm_last_error() == PM_ESTALE);
    CHECK(pm_check(blocks[4]) == NULL && pm_last_error() == PM_ESTALE);
    blocks[4] = pm_malloc(1);
    CHECK(blocks[4] != NULL && pm_size(blocks[4]) == 1);
    for (int n = 0; n < PAGES; n++)
        CHECK(pm_free(blocks[n]) == 0);
    CHECK(pm_available(PM_VIRTUAL) == PAGES * PAGE);
}

static void bounds_and_handles(void)
{
    char bytes[8] = "a\0b\377\n\r\t";
    char back[8];
    pm_handle block = pm_malloc(100);

    CHECK(pm_write(block, 92, bytes, 8) == 0 && pm_read(block, 92, back, 8) == 0);
    CHECK(memcmp(bytes, back, 8) == 0);
    CHECK(pm_write(block, 93, bytes, 8) == -1 && pm_last_error() == PM_EBOUNDS);
    CHECK(pm_read(block, SIZE_MAX, back, 8) == -1 && pm_last_error() == PM_EBOUNDS);
    CHECK(pm_read(block, 0, NULL, 8) == -1 && pm_last_error() == PM_EINVAL);
    CHECK(pm_read(block, 0, NULL, 0) == 0 && pm_write(block, 100, NULL, 0) == 0);
    CHECK(pm_malloc(0) == NULL && pm_last_error() == PM_EINVAL);
    CHECK(pm_malloc(SIZE_MAX) == NULL && pm_last_error() == PM_EINVAL);
    CHECK(pm_free(NULL) == -1 && pm_last_error() == PM_EHANDLE);
    CHECK(pm_free((pm_handle)(void *)bytes) == -1);
    CHECK(pm_available(7) == 0 && pm_last_error() == PM_EINVAL && pm_is_full(7) == -1);
    CHECK(pm_free(block) == 0);
}

static void pins(void)
{
    pm_handle large = pm_malloc(5 * PAGE), small = pm_malloc(PAGE);
    unsigned char *address = pm_pin(large);
    char back[3];

    CHECK(address != NULL);
    memset(address, 7, 5 * PAGE);
    CHECK(pm_pin(large) == address);
    CHECK(pm_pin(small) == NULL && pm_last_error() == PM_EDEADLK);
    CHECK(pm_write(small, 10, "yes", 3) == 0 && pm_read(small, 10, back, 3) == 0);
    CHECK(memcmp(back, "yes", 3) == 0);
    CHECK(pm_read(large, 2 * PAGE - 1, back, 3) == 0 && back[0] == 7 && back[2] == 7);
    CHECK(pm_free(large) == -1 && pm_last_error() == PM_EPINNED);
    CHECK(pm_release(large) == 0 && pm_release(large) == 0);
    CHECK(pm_release(large) == -1 && pm_last_error() == PM_ENOPIN);
    CHECK(pm_pin(small) != NULL && pm_release(small) == 0);
    CHECK(pm_free(large) == 0 && pm_free(small) == 0);
    large = pm_malloc(6 * PAGE);
    CHECK(pm_pin(large) == NULL && pm_last_error() == PM_EFRAMES);
    CHECK(pm_check(large) == NULL && pm_last_error() == PM_EFRAMES);
    CHECK(pm_free(large) == 0);
}

static void *work(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    pm_handle block = pm_malloc(PAGE);
    unsigned char bytes[PAGE], expected[PAGE];

    if (block == NULL)
        return NULL;
    for (unsigned round = 0; round < ROUNDS; round++) {
        fill(expected, seed + round);
        if (round % 2) {
            CHECK(pm_write(block, 0, expected, PAGE) == 0);
        } else {
            /* One pin a thread: whoever holds one runs, so waiting always ends. */
            unsigned char *address = pm_pin(block);
            CHECK(address != NULL);
            memcpy(address, expected, PAGE);
            CHECK(pm_release(block) == 0);
        }
        CHECK(pm_read(block, 0, bytes, PAGE) == 0);
        CHECK(memcmp(bytes, expected, PAGE) == 0);
    }
    return block;
}

static void twelve_threads(void)
{
    pthread_t threads[THREADS];
    int served = 0;

    for (uintptr_t n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, work, (void *)(n * 1000)) == 0);
    for (int n = 0; n < THREADS; n++) {
        void *block;
        CHECK(pthread_join(threads[n], &block) == 0);
        served += block != NULL;
    }
    CHECK(served == PAGES);
}

int main(int argc, char **argv)
{
    pm_options options = {0};

    CHECK(argc == 2);
    CHECK(pm_last_error() == PM_OK && strcmp(pm_message(), "") == 0);
    CHECK(pm_malloc(1) == NULL && pm_last_error() == PM_EINIT && pm_destroy() == -1);
    CHECK(pm_init(100, 0, NULL) == -1 && pm_last_error() == PM_EINVAL);
    CHECK(strstr(pm_message(), "100 bytes") != NULL);
    CHECK(pm_init(0, 0, "/nowhere/at/all") == -1 && pm_last_error() == PM_EIO);
    CHECK(pm_init(0, 0, NULL) == 0);
    CHECK(pm_available(PM_PHYSICAL) == 10 << 20 && pm_available(PM_VIRTUAL) == 20 << 20);
    CHECK(pm_init(0, 0, NULL) == -1 && pm_last_error() == PM_EINIT);
    pm_handle old = pm_malloc(1);
    CHECK(old != NULL && pm_destroy() == 0);

    options.physical = FRAMES * PAGE;
    options.virtual_size = PAGES * PAGE;
    options.policy = "mru";
    CHECK(pm_init_options(&options) == -1 && pm_last_error() == PM_EINVAL);
    options.policy = "first";
    options.swap_file = argv[1];
    CHECK(pm_init_options(&options) == 0);
    CHECK(pm_free(old) == -1 && pm_last_error() == PM_EHANDLE);
    twelve_requests();
    bounds_and_handles();
    pins();
    twelve_threads();
    FILE *file = fopen(argv[1], "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    CHECK(ftell(file) > 0 && ftell(file) <= PAGES * PAGE && fclose(file) == 0);
    CHECK(pm_destroy() == 0);
    CHECK(fopen(argv[1], "rb") == NULL);
    puts("every call is as it should be");
    return 0;
}
