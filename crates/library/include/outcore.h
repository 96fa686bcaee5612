/* Outcore: page families for C programs. outcore_macros.h has short names for it. */

#ifndef OUTCORE_H
#define OUTCORE_H

/* Made by cbindgen from the Rust sources: change those. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// How a report is written.
typedef enum oc_format {
  // For people.
  OC_FORMAT_TEXT,
  // As one line of JSON.
  OC_FORMAT_JSON,
} oc_format;

// A heap of families. Heaps are independent of each other, and used from any thread.
typedef struct oc_heap oc_heap;

// A family of one heap; 0 is none.
typedef uint32_t oc_family;

// Where an address lies.
typedef struct oc_location {
  // The family that holds its page.
  oc_family family;
  // 1 if its block is used, 0 if it is free.
  int used;
  // Where its block's data begin.
  void *data;
  // Bytes of data in its block.
  size_t size;
} oc_location;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What the calling thread's last call that failed was told: a message without a newline,
// empty if none has failed. It is valid until another call of this thread fails.
const char *oc_error(void);

// Makes a heap with all metadata outside its pages. Drop it with oc_heap_drop.
struct oc_heap *oc_heap_new(void);

// Makes a heap in the textbook layout, with a meta block in the page before each data
// block: pages of 4096 or 8192 bytes, meta blocks of 28 or 48. NULL with EINVAL for
// other sizes.
struct oc_heap *oc_heap_new_in_page(size_t page_size, size_t meta_size);

// Drops a heap and all that was allocated from it. NULL is left alone.
//
// # Safety
// The heap was made by oc_heap_new or oc_heap_new_in_page; nobody uses it or what was
// allocated from it any more.
void oc_heap_drop(struct oc_heap *heap);

// Checks the laws of a heap, at every block: 0, or -1 and oc_error says which does not
// hold.
//
// # Safety
// `heap` is NULL or a heap.
int oc_check(const struct oc_heap *heap);

// Gives pages that no family holds back to the kernel; how many there were.
//
// # Safety
// `heap` is NULL or a heap.
size_t oc_trim(const struct oc_heap *heap);

// Registers a family of objects of `size` bytes that are aligned to `align`; with 0 for
// `align`, as any type of that size is. 0 with EINVAL if the name is empty, longer than
// 255 bytes, not UTF-8 or taken, if the size is 0 or too large, or if the heap's layout
// cannot give the alignment.
//
// # Safety
// `heap` is NULL or a heap; `name` is a string.
oc_family oc_register(const struct oc_heap *heap, const char *name, size_t size, size_t align);

// The family of this name; 0 if there is none.
//
// # Safety
// `heap` is NULL or a heap; `name` is a string.
oc_family oc_find(const struct oc_heap *heap, const char *name);

// The built-in family of raw bytes, for buffers of any size: its units are bytes.
//
// # Safety
// `heap` is NULL or a heap.
oc_family oc_bytes(const struct oc_heap *heap);

// `units` objects of a family in a row, all bytes zero. NULL with EINVAL if there is no
// such family or `units` is 0, with ENOMEM if there is no memory for so many.
//
// # Safety
// `heap` is NULL or a heap.
void *oc_calloc(const struct oc_heap *heap, oc_family family, size_t units);

// The same, the bytes as they happen to be.
//
// # Safety
// `heap` is NULL or a heap.
void *oc_malloc(const struct oc_heap *heap, oc_family family, size_t units);

// What xcalloc calls: oc_calloc from the default heap's family of that name, whose
// objects must have that size.
//
// # Safety
// `name` is a string.
void *oc_calloc_named(const char *name, size_t size, size_t units);

// What xmalloc calls: the same with oc_malloc.
//
// # Safety
// `name` is a string.
void *oc_malloc_named(const char *name, size_t size, size_t units);

// Frees a block: 0, also for NULL. A pointer that is not the start of a used block of
// this heap is refused: -1 with EINVAL, oc_error tells what it is, nothing has changed.
//
// # Safety
// `heap` is NULL or a heap; nobody uses the block any more.
int oc_free(const struct oc_heap *heap, void *block);

// What xfree calls: frees a block of the default heap, and says on standard error if it
// is refused.
//
// # Safety
// Nobody uses the block any more.
void oc_free_or_report(void *block);

// Finds the family and the block that an address lies in: 0, or -1 with EINVAL if no
// family of this heap holds its page.
//
// # Safety
// `heap` is NULL or a heap; `location` may be written.
int oc_locate(const struct oc_heap *heap, const void *address, struct oc_location *location);

// Writes the registered families, in the order of registration; `format` is one of
// oc_format. 0, or -1 if the stream does not take it.
//
// # Safety
// `heap` is NULL or a heap; `to` is an open stream.
int oc_print_families(const struct oc_heap *heap, FILE *to, int format);

// Writes what a family uses, or with 0 for `family` what each does, in the order of
// registration: pages, bytes, kernel calls, blocks, internal fragmentation. 0, or -1
// with EINVAL if there is no such family or the stream does not take it.
//
// # Safety
// `heap` is NULL or a heap; `to` is an open stream.
int oc_print_usage(const struct oc_heap *heap, oc_family family, FILE *to, int format);

// Writes a family's pages block by block: offset, size, state, neighbours, address. 0,
// or -1 with EINVAL if there is no such family or the stream does not take it.
//
// # Safety
// `heap` is NULL or a heap; `to` is an open stream.
int oc_print_blocks(const struct oc_heap *heap, oc_family family, FILE *to, int format);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OUTCORE_H */
