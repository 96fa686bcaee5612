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

// What may be done with a map.
typedef enum oc_access {
  // It is only read; writing to it is a fault (SIGSEGV).
  OC_ACCESS_READ_ONLY,
  // What is written reaches the file, and the heap's other maps of it at once.
  OC_ACCESS_SHARED,
  // What is written is the map's alone, and goes to the heap's store.
  OC_ACCESS_PRIVATE,
} oc_access;

// What a part of a map will be used for.
typedef enum oc_advice {
  // Nothing special: streams are found by themselves.
  OC_ADVICE_NORMAL,
  // Going up through it: what follows is read ahead from the first touch on.
  OC_ADVICE_SEQUENTIAL,
  // In no order: nothing is read ahead.
  OC_ADVICE_RANDOM,
  // Soon: it is brought in in the background, as far as nothing has to leave for it.
  OC_ADVICE_WILL_NEED,
  // Not for long: what is in memory of it leaves next.
  OC_ADVICE_COLD,
} oc_advice;

// What a map of a backing is for.
typedef enum oc_sharing {
  // It is only read.
  OC_SHARING_READ_ONLY,
  // What is changed is taken back.
  OC_SHARING_SHARED,
  // What is changed is the map's alone, and goes to the store.
  OC_SHARING_PRIVATE,
} oc_sharing;

// RAM that several heaps and arenas share, each by its need. It is used from any thread.
typedef struct oc_budget oc_budget;

// A call of a backing's function. It is valid until the function returns.
typedef struct oc_call oc_call;

// A heap of families. Heaps are independent of each other, and used from any thread.
typedef struct oc_heap oc_heap;

// A file, or a part of one, that is mapped.
typedef struct oc_map oc_map;

// A shared arena, as this process has it mapped. It is used from any thread.
typedef struct oc_shared_arena oc_shared_arena;

// What is to be paged, and where to. All zero but a budget, own or shared, is a good choice.
typedef struct oc_config {
  // How many bytes of RAM pages, and the tables about them, may take: at least 4 MiB. 0 if a
  // budget is shared; for an arena also under outcore run, whose budget it shares then.
  size_t budget;
  // The directory for a store without a name, on a disk; NULL is /var/tmp.
  const char *store;
  // How many bytes may go there; 0 is 64 GiB.
  size_t store_size;
  // One of oc_commit.
  int commit;
  // A budget that heaps and arenas share, in place of one of its own; or NULL.
  const struct oc_budget *share;
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

// What supplies the pages of a map. All zero but `supply` is a good choice. The functions are
// called by threads of the map's own, several at once; they must not touch memory that
// outcore_init's pager pages, nor leave by longjmp. What they return is 0 or a number of
// errno, which then is told.
typedef struct oc_backing {
  // What each function is given.
  void *context;
  // Fills `length` bytes, which are zero, with those from `offset` on. If it fails, touching
  // the page that is waited for is a bus error (SIGBUS).
  int (*supply)(const struct oc_call *call, void *context, uint64_t offset, void *bytes, size_t length);
  // Keeps `length` bytes, which are those from `offset` on now; for OC_SHARING_SHARED only. If
  // it fails they stay in memory.
  int (*take_back)(const struct oc_call *call,
                   void *context,
                   uint64_t offset,
                   const void *bytes,
                   size_t length);
  // Makes durable what was taken back, at the end of oc_flush_backing; or NULL.
  int (*sync)(void *context);
  // Called once when no other function will be called any more, if there was a map; or NULL.
  void (*end)(void *context);
  // What it is called in messages, or NULL.
  const char *name;
  // One of oc_sharing.
  int sharing;
  // How many threads make calls; 0 is 2.
  size_t threads;
} oc_backing;

// The numbers of a shared arena, of all members together: bytes, or how many.
typedef struct oc_shared_status {
  // Bytes of RAM that its pages may take; of a budget that is shared, now.
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

// Maps `length` bytes of an open file from `offset` on, a multiple of 4096; with 0 for
// `length`, all up to its end. `access` is one of oc_access; a shared map needs a file that is
// open for reading and writing. The descriptor may be closed afterwards. The heap is one that
// oc_heap_new_paged has made, whose budget bounds what is in memory; NULL is the program's
// pager, after outcore_init. NULL with errno: EINVAL for what cannot be mapped, EACCES for a
// file that is not open as it should be, ENOMEM where there is no room for more, EBADF, or what
// else the kernel says. oc_error tells. Forked children have no maps.
//
// # Safety
// `heap` is NULL or a heap, which is not dropped before the map is closed.
struct oc_map *oc_map_file(const struct oc_heap *heap,
                           int descriptor,
                           int access,
                           uint64_t offset,
                           size_t length);

// Opens a file and maps it, as oc_map_file does. NULL with errno also for what open(2) says.
//
// # Safety
// As oc_map_file; `path` is a string.
struct oc_map *oc_map_open(const struct oc_heap *heap,
                           const char *path,
                           int access,
                           uint64_t offset,
                           size_t length);

// Where the first byte of a map is. The addresses are the map's until it is closed.
//
// # Safety
// `map` is a map.
void *oc_map_address(const struct oc_map *map);

// How many bytes are mapped.
//
// # Safety
// `map` is a map.
size_t oc_map_length(const struct oc_map *map);

// Writes what is dirty of `length` bytes from `start` on to the file, by whichever map it was
// written, and waits until the disk has it; with 0 for `length`, up to the map's end. 0, or -1
// with errno: what could not be written is still in memory, and the next call tries again.
//
// # Safety
// `map` is a map.
int oc_map_flush(const struct oc_map *map, size_t start, size_t length);

// Says what a part of a map will be used for, as one of oc_advice; with 0 for `length`, up to
// the map's end. The bytes stay what they are. 0, or -1 with EINVAL.
//
// # Safety
// `map` is a map.
int oc_map_advise(const struct oc_map *map, size_t start, size_t length, int advice);

// Writes what is dirty to the file and unmaps it; the disk need not have it yet. NULL is left
// alone. 0, or -1 with errno if not all could be written: what no other map has is lost then,
// as nothing is after an oc_map_flush that gave 0. The map is gone in any case.
//
// # Safety
// `map` is NULL or a map, and nobody uses it or its addresses any more.
int oc_map_close(struct oc_map *map);

// Maps `length` bytes whose pages the program supplies, in the budget of outcore_init's pager.
// NULL with EINVAL if there is no pager or the settings make no sense, with ENOMEM or what the
// kernel says if there is no room; `end` is not called then. Forked children do not have it.
//
// # Safety
// `backing` points to settings; its functions may be called as it says until `end` has been.
void *oc_map_backing(const struct oc_backing *backing, size_t length);

// Gives back what has been changed of a map that begins at `address`, and waits until it is
// durable: 0, or -1 with what the backing said; then it is still in memory, and the next call
// tries again.
int oc_flush_backing(void *address);

// Ends all calls of a map that are under way, as far as it is concerned, and makes no more: who
// waits for a page of it gets a bus error. 0, or -1 with EINVAL.
int oc_cancel_backing(void *address);

// Whether nobody wants the result of a call any more, which then may as well return: 1 or 0.
//
// # Safety
// `call` is what a function of a backing was given, and has not returned from.
int oc_call_is_cancelled(const struct oc_call *call);

// Gives back what has been changed and ends a map: 0, or -1 with EINVAL if none begins there, and
// else with what the backing said: the map has ended, and what was not taken back is lost.
//
// # Safety
// Nobody uses its memory any more.
int oc_unmap_backing(void *address);

// Makes an arena of `size` bytes that other processes of this user attach to by its name, of 1
// to 64 bytes without slashes; its budget is for all of them together. NULL with errno: EINVAL,
// ENAMETOOLONG, EEXIST if there is one of that name, ENOMEM if others leave too little of a budget
// that is to be shared, ENOTSUP if the kernel gives no userfaultfd
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

// Makes a budget of so many bytes, at least 4 MiB, for settings to name in place of one of their
// own. NULL with errno: EINVAL for too few or too many bytes, or what else the kernel says.
// oc_error tells.
struct oc_budget *oc_budget_create(size_t bytes);

// Makes it another one at once, down as well as up; what does not fit any more is evicted. 0, or
// -1 with errno: EINVAL for too few or too many bytes, EBUSY if those that share it need more.
//
// # Safety
// It was given by oc_budget_create and has not been dropped.
int oc_budget_set(const struct oc_budget *budget, size_t bytes);

// Its bytes.
//
// # Safety
// As oc_budget_set.
size_t oc_budget_size(const struct oc_budget *budget);

// Bytes of pages and tables that all who share it have in memory, as they have last told.
//
// # Safety
// As oc_budget_set.
size_t oc_budget_used(const struct oc_budget *budget);

// How many heaps and arenas share it.
//
// # Safety
// As oc_budget_set.
size_t oc_budget_sharers(const struct oc_budget *budget);

// Gives it up. Heaps and arenas that share it go on doing so. NULL is left alone.
//
// # Safety
// It was given by oc_budget_create, and is given back once.
void oc_budget_drop(struct oc_budget *budget);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OUTCORE_H */
