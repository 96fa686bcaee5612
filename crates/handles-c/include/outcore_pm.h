/*
 * The handle heap: blocks that need not all be in memory, on any system with files.
 *
 * One heap a process. Any thread may call at any time. Link with -loutcore_pm.
 *
 *     if (pm_init(0, 0, NULL) != 0) { fprintf(stderr, "%s\n", pm_message()); exit(1); }
 *     pm_handle block = pm_malloc(100);
 *     strcpy(pm_check(block), "found again, wherever it was");
 */
#ifndef OUTCORE_PM_H
#define OUTCORE_PM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The name of a block; NULL is none. It is no address. */
typedef struct pm_block *pm_handle;

/* Why a call failed: pm_last_error(). */
enum pm_error {
    PM_OK = 0,        /* no call of this thread has failed */
    PM_EINIT = 1,     /* there is no heap, or there is one already */
    PM_EINVAL = 2,    /* a size, a space, a policy or a buffer that makes no sense */
    PM_EFULL = 3,     /* the virtual space is used up; freeing makes room */
    PM_EHANDLE = 4,   /* the handle was not given out by this heap */
    PM_ESTALE = 5,    /* the block was freed already */
    PM_EBOUNDS = 6,   /* the bytes are not all in the block */
    PM_EPINNED = 7,   /* the block is pinned, and cannot be freed */
    PM_ENOPIN = 8,    /* the block is not pinned, and cannot be released */
    PM_EFRAMES = 9,   /* the block has more pages than there are frames: read and write it */
    PM_EDEADLK = 10,  /* too much is pinned, and nobody is left who could release it */
    PM_EIO = 11,      /* the swap file cannot be made, read or written */
    PM_ECORRUPT = 12  /* what was read from the swap file is not what was written */
};

/* Whose room is asked for. */
enum pm_space {
    PM_PHYSICAL = 0,  /* frames of memory */
    PM_VIRTUAL = 1    /* pages of blocks */
};

/* What a heap is made from; 0 and NULL stand for the defaults. */
typedef struct pm_options {
    size_t physical;       /* bytes of memory: 10 MiB */
    size_t virtual_size;   /* bytes of all blocks: twice that */
    size_t page_size;      /* bytes of a page, a power of two from 512: 4096 */
    const char *policy;    /* fifo, lru, clock, sieve, s3fifo, 2q, arc, lirs or first: clock */
    const char *swap_file; /* a file that is made, and removed in the end: one without a name */
} pm_options;

/* Make the heap. 0, or -1. */
int pm_init(size_t physical, size_t virtual_size, const char *swap_file);
int pm_init_options(const pm_options *options);

/* Give everything back; handles and addresses mean nothing afterwards. 0, or -1. */
int pm_destroy(void);

/* A block of size bytes, all zero. NULL while the virtual space is used up. */
pm_handle pm_malloc(size_t size);

/* Free a block. 0, or -1. */
int pm_free(pm_handle block);

/* The address of a block, a multiple of 64, good until the next call of any thread; NULL if that is
 * not possible. A block of several pages may have to wait, as for pm_pin. */
void *pm_check(pm_handle block);

/* The same, good until pm_release was called as often. Waits for other threads to release frames;
 * NULL at once when all who hold some are this thread or wait themselves. */
void *pm_pin(pm_handle block);
int pm_release(pm_handle block);

/* Copy bytes out of or into a block, whatever is pinned. The buffer is not the block itself. 0, or -1:
 * nothing happens when the bytes are not all in the block. */
int pm_read(pm_handle block, size_t offset, void *into, size_t len);
int pm_write(pm_handle block, size_t offset, const void *from, size_t len);

/* Bytes of a block, as they were asked for; 0 if there is none. */
size_t pm_size(pm_handle block);

/* Bytes that are not in use; whether there are none (1, 0, or -1 if there is no heap). */
size_t pm_available(int which);
int pm_is_full(int which);

/* Why the last call of this thread that failed did: a number of enum pm_error, and a text that is good
 * until the next such call. */
int pm_last_error(void);
const char *pm_message(void);

#ifdef __cplusplus
}
#endif

#endif
