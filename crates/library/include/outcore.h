/* Outcore for C programs: memory larger than RAM, and page families, for which
   outcore_macros.h has short names. */

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

// When the store's room is charged.
typedef enum oc_commit {
  // When pages are evicted: when none is left, nothing is lost, but RAM use may pass the
  // budget, which is said on standard error.
  OC_COMMIT_LAZY,
  // When memory is handed out: what the store has no room for is refused with ENOMEM.
  OC_COMMIT_STRICT,
} oc_commit;

// A heap of families. Heaps are independent of each other, and used from any thread.
typedef struct oc_heap oc_heap;

// A shared arena, as this process has it mapped. It is used from any thread.
typedef struct oc_shared_arena oc_shared_arena;

// What is to be paged, and where to. All zero but the budget is a good choice.
typedef struct oc_config {
  // How many bytes of RAM pages, and the tables about them, may take: at least 4 MiB.
  size_t budget;
  // The directory for a store without a name, on a disk; NULL is /var/tmp.
  const char *store;
  // How many bytes may go there; 0 is 64 GiB.
  size_t store_size;
  // One of oc_commit.
  int commit;
} oc_config;

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

// How much there is of what, and what has happened. Bytes, pages or calls, as said.
typedef struct oc_status {
  // 1 after outcore_init, else 0, and all that follows as well.
  int initialized;
  // 1 after outcore_enable, 0 after outcore_disable.
  int enabled;
  // Bytes of RAM that may be taken.
  size_t budget;
  // Bytes of mappings that are paged.
  size_t mapped;
  // Bytes of pages that are mapped in memory.
  size_t resident;
  // Bytes of pages that are in memory and not mapped.
  size_t parked;
  // Bytes of pages that hold data and are in the store only.
  size_t swapped;
  // Bytes of the store that are in use.
  size_t store_used;
  // Faults resolved without a transfer.
  uint64_t minor_faults;
  // Faults that waited for the store.
  uint64_t major_faults;
  // Pages read from the store.
  uint64_t swap_ins;
  // Pages written to the store.
  uint64_t swap_outs;
  // Pages that were lost: touching them is SIGBUS.
  uint64_t poisoned_pages;
} oc_status;

// The numbers of a shared arena, of all members together: bytes, or how many.
typedef struct oc_shared_status {
  // Bytes of RAM that its pages may take.
  size_t budget;
  // Bytes of pages that are in memory, once for all members.
  size_t resident;
  // Bytes of pages that are in memory and mapped nowhere.
  size_t parked;
  // Bytes of pages that hold data and are in the store only.
  size_t swapped;
  // Bytes of the store that are in use.
  size_t store_used;
  // Attachments, of this process and others.
  size_t members;
  // 1 if the arena's server was killed: what was not in memory is lost. All else is 0 then.
  int orphaned;
} oc_shared_status;

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

// Makes a heap whose pages are paged, by a pager and a store of its own. NULL with errno,
// as outcore_init.
//
// # Safety
// `config` points to settings; its store is NULL or a string.
struct oc_heap *oc_heap_new_paged(const struct oc_config *config);

// Drops a heap and all that was allocated from it. NULL is left alone.
//
// # Safety
// The heap was made by one of the functions above; nobody uses it or what was
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

// Starts the program's pager, once; nothing is paged before outcore_enable. 0, or -1 with
// errno: EINVAL for impossible settings, EALREADY if it was started before, ENOTSUP if the
// kernel gives no userfaultfd; what is wrong with the store's directory; or what else the
// kernel says. oc_error tells.
//
// # Safety
// `config` points to settings; its store is NULL or a string.
int outcore_init(const struct oc_config *config);

// From now on what oc_mmap gives is paged. 0, or -1 with EINVAL before outcore_init.
int outcore_enable(void);

// From now on what oc_mmap gives is the kernel's. What it gave before stays paged. 0, or -1
// with EINVAL before outcore_init.
int outcore_disable(void);

// Says how things are now. 0; -1 with EINVAL if `status` is NULL.
//
// # Safety
// `status` is NULL or may be written.
int outcore_status(struct oc_status *status);

// Pages for `length` bytes, all zero, readable and writable: paged if that is enabled. NULL
// with EINVAL for 0 bytes, with ENOMEM if there are none, or under strict commit no room in
// the store. Forked children have no paged mapping.
void *oc_mmap(size_t length);

// Gives back all of a mapping, or whole pages of it: 0. Anything else is refused: -1 with
// EINVAL, and nothing has changed.
//
// # Safety
// Nobody uses these pages any more.
int oc_munmap(void *address, size_t length);

// Makes an arena of `size` bytes that other processes of this user attach to by its name, of 1
// to 64 bytes without slashes; its budget is for all of them together. NULL with errno: EINVAL,
// ENAMETOOLONG, EEXIST if there is one of that name, ENOTSUP if the kernel gives no userfaultfd
// for shared memory, EIO if its server cannot begin; or what else the kernel says. oc_error
// tells. The server is a process of its own that begins as this program does and never
// reaches main; this process gets a SIGCHLD when it has been started.
//
// # Safety
// `name` is NULL or a string; `config` is NULL or points to settings, whose store is NULL or a
// string.
struct oc_shared_arena *oc_arena_create_shared(const char *name,
                                               uint64_t size,
                                               const struct oc_config *config);

// Attaches to an arena that this user has made. NULL with errno: EINVAL, ENAMETOOLONG, ENOENT if
// there is none of that name, EACCES if it is another user's, EPROTO if its layout is another
// one, EMFILE if it has 128 members; or what else the kernel says. oc_error tells.
//
// # Safety
// `name` is NULL or a string.
struct oc_shared_arena *oc_arena_attach(const char *name);

// Leaves an arena, whose memory this process has no longer. The last one out removes it. NULL
// is left alone.
//
// # Safety
// It was given by one of the functions above, and is given back once; nobody in this process
// uses its memory any more.
void oc_arena_detach(struct oc_shared_arena *arena);

// Where an arena begins in this process: a multiple of the page size, and another address in
// each process.
//
// # Safety
// It is attached.
void *oc_arena_address(const struct oc_shared_arena *arena);

// The bytes of an arena: what was asked for, in whole pages.
//
// # Safety
// It is attached.
size_t oc_arena_size(const struct oc_shared_arena *arena);

// Drops the contents of whole pages for all members: they read as zeros then. 0, or -1 with
// errno: EINVAL for what are not pages of the arena, EOWNERDEAD if its server was killed.
//
// # Safety
// It is attached.
int oc_arena_discard(const struct oc_shared_arena *arena, size_t offset, size_t length);

// Says how an arena is now. 0, also where its server was killed; -1 with EINVAL if `status` is
// NULL, with ECHILD in a forked child.
//
// # Safety
// It is attached; `status` is NULL or may be written.
int oc_arena_status(const struct oc_shared_arena *arena, struct oc_shared_status *status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OUTCORE_H */
