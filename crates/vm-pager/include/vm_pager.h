/*
 * vm_pager.h: Outcore's pager for an infrastructure that plays the hardware.
 *
 * The infrastructure has physical memory, a page-table base register, files and swap, and
 * processes with an arena of 256 pages of 64 KiB at 0x600000000. It checks every access against
 * the page table that the register names, calls vm_fault where that does not allow it, and tries
 * again; where vm_fault gives -1 the process is in error.
 *
 * The library is libvm_pager.a or libvm_pager.so (cargo build --release -p vm-pager):
 *
 *     cc infrastructure.c target/release/libvm_pager.a -lpthread -ldl -lm
 *
 * Infrastructures that declare these functions in C++ are served by vm_pager_shim.hpp instead.
 *
 * One thread at a time may be in a call. file_read and file_write may not call back.
 */

#ifndef OUTCORE_VM_PAGER_H
#define OUTCORE_VM_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    VM_PAGESIZE = 65536,
    VM_ARENA_PAGES = 256,
    VM_ARENA_SIZE = VM_PAGESIZE * VM_ARENA_PAGES,
};
#define VM_ARENA_BASEADDR ((void *)0x600000000)

/* The entry of one page. Without rights, ppage means nothing. */
typedef struct {
    uint32_t ppage : 20;       /* bits 0 to 19: the page of physical memory */
    uint32_t read_enable : 1;  /* bit 20: 0, a load is a fault */
    uint32_t write_enable : 1; /* bit 21: 0, a store is a fault */
} page_table_entry_t;

/* The entries of the arena's pages, in order. */
typedef struct {
    page_table_entry_t ptes[VM_ARENA_PAGES];
} page_table_t;

/* ---- What the infrastructure defines ---- */

/* Physical memory: memory_pages pages (as vm_init is told) one after the other. */
extern void *const vm_physmem;

/* The page table of the process that runs. Set by the pager alone, which also has the tables; null
 * after vm_init and vm_destroy. */
extern page_table_t *page_table_base_register;

/* Numbers of blocks. Define it as size_t before the inclusion where the infrastructure does so. */
#ifndef VM_BLOCK
#define VM_BLOCK unsigned int
#endif

/* Reads a block of a file, or of swap if filename is null, into buf, a page of physical memory.
 * 0; anything else: it failed. */
int file_read(const char *filename, VM_BLOCK block, void *buf);

/* Writes buf, a page of physical memory, to a block of a file, or of swap if filename is null.
 * 0; anything else: it failed. */
int file_write(const char *filename, VM_BLOCK block, const void *buf);

/* ---- What the library defines ---- */

/* Makes the pager. Page 0 of memory is filled with zeros and stays so. Stops the program with a
 * message unless there are 2 to 2^20 pages of memory and at most 2^27 blocks of swap. */
void vm_init(unsigned int memory_pages, unsigned int swap_blocks);

/* A process begins, but does not run. If the parent is known, it has the parent's mappings and
 * bytes, which are copied when either of the two writes; otherwise its arena is empty.
 * 0, or -1 and nothing has changed: there is not enough swap for the pages that the parent has
 * of it, or child_pid is in use. */
int vm_create(pid_t parent_pid, pid_t child_pid);

/* A process runs from now on. A process that is not known is refused with a message. */
void vm_switch(pid_t pid);

/* Makes the lowest invalid page of the arena valid, and gives its address.
 * filename null: a page of zeros, for which one block of swap is set aside now; block is ignored.
 * Otherwise a page that shows a block of a file, shared with whoever maps the same block. The
 * name is a string in the arena of the process that runs; the file need not exist yet.
 * Null: the arena is full, no swap is left, or the name leaves the valid pages. */
void *vm_map(const char *filename, unsigned int block);

/* Serves a fault of the process that runs: an access to addr that its page table does not allow.
 * 0, or -1: addr is in no valid page, or a transfer failed and the page is as it was. */
int vm_fault(const void *addr, bool write_flag);

/* The process that runs ends; none runs until the next vm_switch. No I/O. */
void vm_destroy(void);

#ifdef __cplusplus
}
#endif

#endif
