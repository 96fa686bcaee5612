// vm_pager_shim.hpp: Outcore's pager for an infrastructure that declares the pager's calls in C++.
//
// Include it once, in one file, after the infrastructure's own header, and link libvm_pager.a with it:
//
//     #include "vm_pager.h"          // the infrastructure's own
//     #include "vm_pager_shim.hpp"
//
// The calls are defined for counts and blocks that are unsigned int and for size_t; the infrastructure
// links with those that it declares. Its file_read and file_write may take either.
//
// In C++ a function's symbol has its parameters' types in it, so what is named alike here and in the
// library are different symbols. The library's own are reached by their plain names (GCC and Clang).

#ifndef OUTCORE_VM_PAGER_SHIM_HPP
#define OUTCORE_VM_PAGER_SHIM_HPP

#include <climits>
#include <cstddef>
#include <sys/types.h>

#define OUTCORE_TEXT(name) #name
#define OUTCORE_PREFIX_TEXT(prefix) OUTCORE_TEXT(prefix)
#define OUTCORE_SYMBOL(name) __asm__(OUTCORE_PREFIX_TEXT(__USER_LABEL_PREFIX__) name)

extern "C" {
void outcore_vm_init(unsigned int, unsigned int) OUTCORE_SYMBOL("vm_init");
int outcore_vm_create(pid_t, pid_t) OUTCORE_SYMBOL("vm_create");
void outcore_vm_switch(pid_t) OUTCORE_SYMBOL("vm_switch");
void *outcore_vm_map(const char *, unsigned int) OUTCORE_SYMBOL("vm_map");
int outcore_vm_fault(const void *, bool) OUTCORE_SYMBOL("vm_fault");
void outcore_vm_destroy() OUTCORE_SYMBOL("vm_destroy");
int outcore_file_read(const char *, std::size_t, void *) OUTCORE_SYMBOL("file_read");
int outcore_file_write(const char *, std::size_t, const void *) OUTCORE_SYMBOL("file_write");
}

namespace outcore {
// What does not fit is more than the pager can have, and is refused by it.
inline unsigned int narrow(std::size_t number) {
    return number > UINT_MAX ? UINT_MAX : static_cast<unsigned int>(number);
}
} // namespace outcore

void vm_init(unsigned int memory_pages, unsigned int swap_blocks) {
    outcore_vm_init(memory_pages, swap_blocks);
}

void vm_init(std::size_t memory_pages, std::size_t swap_blocks) {
    outcore_vm_init(outcore::narrow(memory_pages), outcore::narrow(swap_blocks));
}

int vm_create(pid_t parent_pid, pid_t child_pid) { return outcore_vm_create(parent_pid, child_pid); }

void vm_switch(pid_t pid) { outcore_vm_switch(pid); }

void *vm_map(const char *filename, unsigned int block) { return outcore_vm_map(filename, block); }

void *vm_map(const char *filename, std::size_t block) {
    // Blocks beyond are in no file.
    return filename && block > UINT_MAX ? nullptr
                                        : outcore_vm_map(filename, static_cast<unsigned int>(block));
}

int vm_fault(const void *addr, bool write_flag) { return outcore_vm_fault(addr, write_flag); }

int vm_fault(void *addr, bool write_flag) { return outcore_vm_fault(addr, write_flag); }

void vm_destroy() { outcore_vm_destroy(); }

int outcore_file_read(const char *filename, std::size_t block, void *buf) {
    return ::file_read(filename, block, buf);
}

int outcore_file_write(const char *filename, std::size_t block, const void *buf) {
    return ::file_write(filename, block, buf);
}

#endif
