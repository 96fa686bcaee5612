// The interface as C++ infrastructures declare it: everything with C++ linkage, counts and blocks of one type.

#pragma once

#include <cstddef>
#include <sys/types.h>

#define VM_PAGESIZE 65536
#define VM_ARENA_PAGES 256
#define VM_ARENA_SIZE (VM_PAGESIZE * VM_ARENA_PAGES)
#define VM_ARENA_BASEADDR ((void *)0x600000000)

struct page_table_entry_t {
    unsigned int ppage : 20;
    unsigned int read_enable : 1;
    unsigned int write_enable : 1;
};

struct page_table_t {
    page_table_entry_t ptes[VM_ARENA_SIZE / VM_PAGESIZE];
};

extern void *const vm_physmem;
extern page_table_t *page_table_base_register;

extern void vm_init(COUNT memory_pages, COUNT swap_blocks);
extern int vm_create(pid_t parent_pid, pid_t child_pid);
extern void vm_switch(pid_t pid);
extern int vm_fault(const void *addr, bool write_flag);
extern void vm_destroy();
extern void *vm_map(const char *filename, COUNT block);

extern int file_read(const char *filename, COUNT block, void *buf);
extern int file_write(const char *filename, COUNT block, const void *buf);
