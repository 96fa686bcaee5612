/*
 * An infrastructure: physical memory, hardware that checks every access, files and swap that can
 * fail, and checks of what the pager does with them. The same text is C, with the pager's header,
 * and C++, with declarations of its own and the shim.
 *
 * Prints the check that does not hold, and ends with 1.
 */

#ifdef __cplusplus
#include "declared.hpp"
#else
#include "vm_pager.h"
#define COUNT unsigned int
#endif

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition) ((condition) ? (void)0 : broken(__LINE__, #condition))

static void broken(int line, const char *what) {
    printf("infrastructure.c:%d: does not hold: %s\n", line, what);
    exit(1);
}

/* ---- Physical memory, and the hardware ---- */

enum { FRAMES = 64, SMALL = 4 };

static unsigned char memory[FRAMES][VM_PAGESIZE];
#ifdef __cplusplus
extern void *const vm_physmem = memory;
#else
void *const vm_physmem = memory;
#endif
page_table_t *page_table_base_register;

static const uintptr_t BASE = 0x600000000;
static unsigned faults;

static uintptr_t page_at(unsigned number) { return BASE + (uintptr_t)number * VM_PAGESIZE; }

static page_table_entry_t *entry(uintptr_t addr) {
    return &page_table_base_register->ptes[(addr - BASE) / VM_PAGESIZE];
}

/* Whether page number `number` has these rights, written as "rw", "r-" or "--", in this frame. */
static bool is(unsigned number, const char *rights, unsigned frame) {
    page_table_entry_t *found = entry(page_at(number));
    bool same = found->read_enable == (rights[0] == 'r') && found->write_enable == (rights[1] == 'w');
    return same && (rights[0] == '-' || found->ppage == frame);
}

/* The byte that an access reaches, after one fault at most. Null: the process is in error. */
static unsigned char *reach(uintptr_t addr, bool write) {
    for (int tries = 0;; tries++) {
        if (addr >= BASE && addr < BASE + VM_ARENA_SIZE) {
            page_table_entry_t *found = entry(addr);
            if (write ? found->write_enable : found->read_enable) {
                CHECK(found->ppage != 0 || !write);
                return &memory[found->ppage][addr % VM_PAGESIZE];
            }
        }
        faults++;
        CHECK(tries == 0);
        if (vm_fault((void *)addr, write) != 0) {
            return NULL;
        }
    }
}

static int load(uintptr_t addr) {
    unsigned char *byte = reach(addr, false);
    return byte ? *byte : -1;
}

static int store(uintptr_t addr, int value) {
    unsigned char *byte = reach(addr, true);
    if (!byte) {
        return -1;
    }
    *byte = (unsigned char)value;
    return 0;
}

static void store_text(uintptr_t addr, const char *text) {
    size_t at = 0;
    do {
        CHECK(store(addr + at, text[at]) == 0);
    } while (text[at++]);
}

/* ---- Files and swap ---- */

enum { BLOCKS = 700, EVENTS = 4096 };

struct block {
    bool used;
    char name[600]; /* "<swap>" for swap */
    size_t number;
    unsigned char bytes[VM_PAGESIZE];
};
static struct block blocks[BLOCKS];

struct event {
    bool write;
    char name[600];
    size_t number;
};
static struct event events[EVENTS];
static unsigned happened;

static bool reads_fail, writes_fail, reenters;

static struct block *block_of(const char *name, size_t number) {
    for (int at = 0; at < BLOCKS; at++) {
        if (blocks[at].used && blocks[at].number == number && !strcmp(blocks[at].name, name)) {
            return &blocks[at];
        }
    }
    return NULL;
}

static struct block *new_block(const char *name, size_t number) {
    for (int at = 0; at < BLOCKS; at++) {
        if (!blocks[at].used) {
            CHECK(strlen(name) < sizeof blocks[at].name);
            blocks[at].used = true;
            blocks[at].number = number;
            strcpy(blocks[at].name, name);
            memset(blocks[at].bytes, 0, VM_PAGESIZE);
            return &blocks[at];
        }
    }
    CHECK(!"room for another block");
    return NULL;
}

/* A buffer is a page of memory that no process can reach while it is in a transfer, and not that of zeros. */
static const char *begin(const char *name, size_t number, const void *buffer, bool write) {
    uintptr_t offset = (uintptr_t)buffer - (uintptr_t)memory;
    CHECK(offset < sizeof memory && offset % VM_PAGESIZE == 0 && offset / VM_PAGESIZE != 0);
    if (page_table_base_register) {
        for (unsigned page = 0; page < VM_ARENA_PAGES; page++) {
            page_table_entry_t found = page_table_base_register->ptes[page];
            CHECK(!(found.read_enable || found.write_enable) || found.ppage != offset / VM_PAGESIZE);
        }
    }
    if (!name) {
        name = "<swap>";
    }
    CHECK(happened < EVENTS);
    events[happened].write = write;
    events[happened].number = number;
    snprintf(events[happened].name, sizeof events[happened].name, "%s", name);
    happened++;
    return name;
}

int file_read(const char *filename, COUNT number, void *buffer) {
    const char *name = begin(filename, number, buffer, false);
    if (reenters) {
        vm_destroy();
    }
    struct block *found = block_of(name, number);
    if (!found || reads_fail) {
        return -1;
    }
    memcpy(buffer, found->bytes, VM_PAGESIZE);
    return 0;
}

int file_write(const char *filename, COUNT number, const void *buffer) {
    const char *name = begin(filename, number, buffer, true);
    if (writes_fail) {
        return -1;
    }
    struct block *found = block_of(name, number);
    if (!found) {
        /* Swap is made when it is first written; files are made by whoever has them. */
        CHECK(!filename);
        found = new_block(name, number);
    }
    memcpy(found->bytes, buffer, VM_PAGESIZE);
    return 0;
}

/* Whether this is what happened since the last question, written as "w <swap> 0, r data 3". */
static bool did(const char *expected) {
    static char found[EVENTS];
    size_t length = 0;
    found[0] = 0;
    for (unsigned at = 0; at < happened; at++) {
        length += (size_t)snprintf(found + length, sizeof found - length, "%s%c %s %zu", at ? ", " : "",
                                   events[at].write ? 'w' : 'r', events[at].name, events[at].number);
        CHECK(length < sizeof found);
    }
    happened = 0;
    if (strcmp(found, expected)) {
        printf("transfers: %s\nexpected:  %s\n", found, expected);
        return false;
    }
    return true;
}

/* ---- The checks ---- */

static void start(COUNT frames, COUNT slots) {
    memset(memory, 0xaa, sizeof memory);
    memset(blocks, 0, sizeof blocks);
    happened = faults = 0;
    reads_fail = writes_fail = false;
    vm_init(frames, slots);
    CHECK(page_table_base_register == NULL);
}

static void run(pid_t parent, pid_t child) {
    CHECK(vm_create(parent, child) == 0);
    vm_switch(child);
}

static uintptr_t map(void) { return (uintptr_t)vm_map(NULL, 0); }

static uintptr_t map_file(uintptr_t name, COUNT block) { return (uintptr_t)vm_map((const char *)name, block); }

/* Pages until the arena or the swap is full. */
static unsigned map_all(void) {
    unsigned count = 0;
    while (map()) {
        count++;
    }
    return count;
}

static void zeros_are_shared_and_writes_take_one_fault(void) {
    start(SMALL, 8);
    for (size_t at = 0; at < VM_PAGESIZE; at++) {
        CHECK(memory[0][at] == 0);
    }
    CHECK(vm_create(0, 1) == 0);
    CHECK(page_table_base_register == NULL);
    vm_switch(1);
    CHECK(page_table_base_register != NULL);
    CHECK(is(0, "--", 0));
    CHECK(map() == page_at(0) && map() == page_at(1));
    CHECK(is(0, "r-", 0) && is(1, "r-", 0) && is(2, "--", 0));
    CHECK(load(page_at(0)) == 0 && load(page_at(1) + VM_PAGESIZE - 1) == 0 && faults == 0);
    CHECK(store(page_at(1) + 5, 'x') == 0 && faults == 1);
    CHECK(is(1, "rw", 1) && is(0, "r-", 0));
    CHECK(load(page_at(1) + 4) == 0 && load(page_at(1) + 5) == 'x' && faults == 1);
    CHECK(did(""));
}

static void the_clock_evicts_the_oldest_that_is_not_referenced(void) {
    start(SMALL, 8);
    run(0, 1);
    for (unsigned page = 0; page < 4; page++) {
        CHECK(map() == page_at(page));
    }
    for (unsigned page = 0; page < 3; page++) {
        CHECK(store(page_at(page), 'a' + (int)page) == 0 && is(page, "rw", page + 1));
    }
    CHECK(did(""));
    /* All are referenced: their bits are cleared, and the first leaves. The block it goes to is the first. */
    CHECK(store(page_at(3), 'd') == 0);
    CHECK(did("w <swap> 0") && is(0, "--", 0) && is(1, "--", 0) && is(2, "--", 0) && is(3, "rw", 1));
    /* A read of a dirty page whose bit was cleared gives both rights back. */
    unsigned before = faults;
    CHECK(load(page_at(1)) == 'b' && is(1, "rw", 2) && faults == before + 1);
    /* Page 2 was not referenced, and leaves; page 0 comes back clean, and leaves without a write. */
    CHECK(load(page_at(0)) == 'a' && did("w <swap> 2, r <swap> 0") && is(0, "r-", 3));
    /* That cleared the bit of page 1, and page 3 goes round now. */
    CHECK(load(page_at(2)) == 'c' && did("w <swap> 1, r <swap> 2") && is(3, "--", 0));
    vm_destroy();
    CHECK(did("") && page_table_base_register == NULL);
}

static void swap_is_set_aside_when_it_is_mapped(void) {
    start(SMALL, 256);
    CHECK(vm_create(0, 1) == 0 && vm_create(0, 2) == 0);
    vm_switch(1);
    CHECK(map_all() == 256);
    vm_switch(2);
    CHECK(map_all() == 0);
    vm_switch(1);
    vm_destroy();
    vm_switch(2);
    CHECK(map_all() == 256);
    vm_destroy();
    /* A fork charges again. */
    run(0, 3);
    for (unsigned page = 0; page < 127; page++) {
        CHECK(map() == page_at(page));
    }
    run(3, 4);
    CHECK(vm_create(4, 5) == -1);
    CHECK(map_all() == 2);
    vm_destroy();
    vm_switch(3);
    CHECK(map_all() == 129);
    CHECK(did(""));
    /* A fork that failed has left no process behind. */
    vm_destroy();
    CHECK(vm_create(0, 5) == 0);
}

static void forks_copy_on_write(void) {
    start(SMALL, 64);
    run(0, 1);
    CHECK(map() == page_at(0) && map() == page_at(1));
    CHECK(store(page_at(0), 'p') == 0 && is(0, "rw", 1));
    CHECK(vm_create(1, 2) == 0 && vm_create(1, 1) == -1 && vm_create(2, 1) == -1);
    CHECK(is(0, "r-", 1));
    vm_switch(2);
    CHECK(is(0, "r-", 1) && is(1, "r-", 0) && load(page_at(0)) == 'p');
    CHECK(store(page_at(0) + 1, 'c') == 0 && is(0, "rw", 2) && load(page_at(0)) == 'p');
    vm_switch(1);
    /* The only owner again: it may write, without a fault. */
    unsigned before = faults;
    CHECK(is(0, "rw", 1) && store(page_at(0), 'q') == 0 && faults == before && load(page_at(0) + 1) == 0);
    vm_switch(2);
    CHECK(load(page_at(0)) == 'p' && load(page_at(0) + 1) == 'c');
    CHECK(did(""));
    /* Five doublings: each process keeps its own byte in three frames. */
    start(SMALL, 64);
    run(0, 1);
    CHECK(map() == page_at(0) && store(page_at(0), 1) == 0);
    pid_t processes = 1;
    while (processes < 32) {
        pid_t parents = processes;
        for (pid_t parent = 1; parent <= parents; parent++) {
            processes++;
            run(parent, processes);
            CHECK(load(page_at(0)) == (int)parent && store(page_at(0), (int)processes) == 0);
        }
    }
    for (pid_t process = 1; process <= processes; process++) {
        vm_switch(process);
        CHECK(load(page_at(0)) == (int)process);
    }
    for (pid_t process = 1; process <= processes; process++) {
        vm_switch(process);
        vm_destroy();
    }
    happened = 0;
    run(0, 1);
    CHECK(map_all() == 64);
}

static void files_are_shared(void) {
    start(8, 16);
    memset(new_block("data", 3)->bytes, 'f', VM_PAGESIZE);
    run(0, 1);
    uintptr_t name = map() + 100;
    store_text(name, "data");
    uintptr_t file = map_file(name, 3);
    CHECK(file == page_at(1) && is(1, "--", 0) && did(""));
    CHECK(load(file) == 'f' && is(1, "r-", 2) && did("r data 3"));
    /* The same block again, here and elsewhere, has its rights at once. */
    CHECK(map_file(name, 3) == page_at(2) && is(2, "r-", 2));
    CHECK(store(page_at(2) + 9, 'g') == 0 && is(1, "rw", 2) && is(2, "rw", 2) && load(file + 9) == 'g');
    run(1, 2);
    CHECK(is(1, "rw", 2) && load(file + 9) == 'g' && store(file + 10, 'h') == 0);
    vm_switch(1);
    CHECK(load(file + 10) == 'h');
    /* What they wrote stays in memory after them, and is written once, when it leaves. */
    vm_destroy();
    vm_switch(2);
    vm_destroy();
    CHECK(did(""));
    run(0, 3);
    name = map();
    store_text(name, "data");
    CHECK(map_file(name, 3) == page_at(1) && is(1, "rw", 2) && load(page_at(1) + 10) == 'h' && did(""));
    vm_destroy();
    run(0, 4);
    for (unsigned page = 0; page < 8; page++) {
        CHECK(store(map(), 'z') == 0);
    }
    CHECK(block_of("data", 3)->bytes[9] == 'g' && block_of("data", 3)->bytes[10] == 'h');
    unsigned writes = 0;
    for (unsigned at = 0; at < happened; at++) {
        writes += events[at].write && !strcmp(events[at].name, "data");
    }
    CHECK(writes == 1);
}

static void files_take_no_swap_and_need_not_exist(void) {
    start(SMALL, 1);
    run(0, 1);
    uintptr_t name = map();
    CHECK(map() == 0);
    store_text(name, "later");
    for (unsigned page = 1; page < 256; page++) {
        CHECK(map_file(name, page) == page_at(page));
    }
    /* Full is looked at first: no page comes in for a name. */
    happened = 0;
    CHECK(map_file(name, 1) == 0 && map_file(1, 1) == 0 && map_file(page_at(9), 1) == 0 && did(""));
    CHECK(load(page_at(7)) == -1 && did("r later 7") && is(7, "--", 0));
    memset(new_block("later", 7)->bytes, '7', VM_PAGESIZE);
    CHECK(load(page_at(7)) == '7' && did("r later 7"));
}

static void names_are_read_through_the_page_table(void) {
    start(8, 16);
    memset(new_block("data", 0)->bytes, 'f', VM_PAGESIZE);
    struct block *half = new_block("half", 0);
    memset(half->bytes, 0, VM_PAGESIZE);
    memcpy(half->bytes, "ta", 3);
    run(0, 1);
    uintptr_t first = map();
    store_text(first + 10, "half");
    uintptr_t second = map_file(first + 10, 0);
    CHECK(second == page_at(1));
    /* "da" at the end of a page of swap, "ta" at the start of a page of a file, which is not in memory. */
    CHECK(store(second - 2, 'd') == 0 && store(second - 1, 'a') == 0);
    happened = 0;
    CHECK(map_file(second - 2, 0) == page_at(2) && did("r half 0"));
    CHECK(load(page_at(2)) == 'f' && did("r data 0"));
    /* In a page of zeros that was never written there is a name, an empty one. No file has it. */
    uintptr_t zeros = map();
    CHECK(zeros == page_at(3) && map_file(zeros, 0) == page_at(4) && is(4, "--", 0) && did(""));
    CHECK(load(page_at(4)) == -1 && did("r  0"));
    /* Names that leave the valid pages, or never were in them. */
    uintptr_t last = map();
    CHECK(last == page_at(5) && store(last + VM_PAGESIZE - 1, 'x') == 0);
    CHECK(map_file(last + VM_PAGESIZE - 1, 0) == 0);
    CHECK(map_file(page_at(6), 0) == 0 && map_file(BASE - 1, 0) == 0 && map_file(BASE + VM_ARENA_SIZE, 0) == 0);
    CHECK(map_file((uintptr_t)"data", 0) == 0 && map_file(UINTPTR_MAX, 0) == 0);
    /* A name that cannot be read because its page cannot come in. */
    uintptr_t missing = map_file(first + 10, 99);
    CHECK(missing == page_at(6) && map_file(missing, 0) == 0);
    CHECK(map() == page_at(7));
    /* At the very end of the arena, without an end. */
    while (map_file(first + 10, 0)) {
    }
    uintptr_t end = BASE + VM_ARENA_SIZE;
    memset(half->bytes, 'x', VM_PAGESIZE);
    CHECK(load(end - VM_PAGESIZE) != -1 && store(end - 1, 'x') == 0 && map_file(end - 1, 0) == 0);
}

/* From the end of one mapping into an alias of the same block; and over two pages that push each other out. */
static void names_go_on_in_aliases_and_in_one_frame(void) {
    start(2, 8);
    memset(new_block("data", 0)->bytes, 'f', VM_PAGESIZE);
    struct block *ring = new_block("ring", 0);
    memcpy(ring->bytes, "ta", 3);
    memcpy(ring->bytes + VM_PAGESIZE - 2, "da", 2);
    run(0, 1);
    store_text(map(), "ring");
    CHECK(map_file(page_at(0), 0) == page_at(1) && map_file(page_at(0), 0) == page_at(2));
    CHECK(map_file(page_at(2) - 2, 0) == page_at(3) && load(page_at(3)) == 'f');
    CHECK(map() == page_at(4) && map() == page_at(5));
    CHECK(store(page_at(5) - 2, 'd') == 0 && store(page_at(5) - 1, 'a') == 0);
    store_text(page_at(5), "ta");
    CHECK(map_file(page_at(5) - 2, 0) == page_at(6) && is(6, "--", 0) && load(page_at(6)) == 'f');
}

static void failed_transfers_change_nothing(void) {
    start(SMALL, 16);
    run(0, 1);
    for (unsigned page = 0; page < 4; page++) {
        map();
    }
    for (unsigned page = 0; page < 3; page++) {
        CHECK(store(page_at(page), 'a' + (int)page) == 0);
    }
    writes_fail = true;
    CHECK(store(page_at(3), 'd') == -1 && did("w <swap> 0") && is(3, "r-", 0));
    CHECK(load(page_at(0)) == 'a' && load(page_at(1)) == 'b' && load(page_at(2)) == 'c' && did(""));
    writes_fail = false;
    CHECK(store(page_at(3), 'd') == 0 && did("w <swap> 0"));
    reads_fail = true;
    CHECK(load(page_at(0)) == -1 && is(0, "--", 0));
    CHECK(load(page_at(0)) == -1);
    reads_fail = false;
    CHECK(load(page_at(0)) == 'a' && load(page_at(1)) == 'b' && load(page_at(2)) == 'c');
    CHECK(load(page_at(3)) == 'd');
}

static void what_makes_no_sense_is_refused(void) {
    start(2, 0);
    CHECK(vm_fault((void *)BASE, false) == -1 && map() == 0 && map_file(BASE, 0) == 0);
    vm_destroy();
    run(-7, -1);
    CHECK(map() == 0);
    CHECK(vm_fault((void *)BASE, false) == -1 && vm_fault((void *)(BASE - 1), true) == -1);
    CHECK(vm_fault(NULL, true) == -1 && vm_fault((void *)UINTPTR_MAX, false) == -1);
    CHECK(vm_fault((void *)(BASE + VM_ARENA_SIZE), true) == -1);
    page_table_t *table = page_table_base_register;
    vm_switch(12345);
    CHECK(page_table_base_register == table && vm_create(0, -1) == -1);
    vm_destroy();
    CHECK(page_table_base_register == NULL);
    vm_destroy();
    vm_switch(-1);
    CHECK(page_table_base_register == NULL && did(""));
}

/* One usable frame is enough for everything, copies included. */
static void one_frame_is_enough(void) {
    start(2, 8);
    memset(new_block("data", 0)->bytes, 'f', VM_PAGESIZE);
    run(0, 1);
    store_text(map(), "data");
    CHECK(store(map(), 'b') == 0);
    uintptr_t file = map_file(page_at(0), 0);
    CHECK(load(file) == 'f' && store(file, 'F') == 0 && load(page_at(1)) == 'b');
    run(1, 2);
    CHECK(store(page_at(1), 'c') == 0 && load(page_at(0)) == 'd' && load(page_at(1)) == 'c' && load(file) == 'F');
    vm_switch(1);
    CHECK(load(page_at(1)) == 'b' && load(page_at(0)) == 'd' && load(file) == 'F');
    CHECK(block_of("data", 0)->bytes[0] == 'F');
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "early")) {
        vm_switch(1);
    } else if (!strcmp(what, "small")) {
        vm_init(1, 0);
    } else if (!strcmp(what, "large")) {
        vm_init((COUNT)-1, 0);
    } else if (!strcmp(what, "swap")) {
        vm_init(2, (COUNT)-1);
    } else if (!strcmp(what, "reenter")) {
        start(SMALL, 1);
        run(0, 1);
        store_text(map(), "x");
        uintptr_t file = map_file(BASE, 0);
        reenters = true;
        load(file);
    } else {
        zeros_are_shared_and_writes_take_one_fault();
        the_clock_evicts_the_oldest_that_is_not_referenced();
        swap_is_set_aside_when_it_is_mapped();
        forks_copy_on_write();
        files_are_shared();
        files_take_no_swap_and_need_not_exist();
        names_are_read_through_the_page_table();
        names_go_on_in_aliases_and_in_one_frame();
        failed_transfers_change_nothing();
        what_makes_no_sense_is_refused();
        one_frame_is_enough();
        puts("every check holds");
        return 0;
    }
    return 0;
}
