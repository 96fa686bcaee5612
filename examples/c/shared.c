/* An arena that two processes share: this program starts itself once more, as a member.
 *
 *   cargo build --release -p outcore-library
 *   cc -I crates/library/include examples/c/shared.c target/release/liboutcore.a \
 *      -lgcc_s -lpthread -lm -ldl -o shared
 */
#define _GNU_SOURCE
#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "outcore.h"

enum { MIB = 1 << 20, WORDS = 64 * MIB / 8 };

static uint64_t word(uint64_t n) {
    return n * 0x9e3779b97f4a7c15u;
}

/* The other process: reads all that it finds, and changes it. */
static int member(const char *name) {
    oc_shared_arena *arena = oc_arena_attach(name);
    if (arena == NULL) {
        fprintf(stderr, "%s\n", oc_error());
        return 1;
    }
    uint64_t *words = oc_arena_address(arena);
    size_t wrong = 0;
    for (size_t n = 0; n < WORDS; n++) {
        wrong += words[n] != word(n);
        words[n] = ~words[n];
    }
    oc_arena_detach(arena);
    return wrong != 0;
}

static void refused(oc_shared_arena *arena, int expected) {
    printf("refused: %s (%s)\n", oc_error(), arena == NULL && errno == expected ? "as it should be" : "oh");
}

int main(int argc, char **argv) {
    if (argc == 2)
        return member(argv[1]);

    oc_config config = { .budget = 8 * MIB };
    refused(oc_arena_attach("no-such-arena"), ENOENT);
    refused(oc_arena_create_shared("a/b", 4096, &config), EINVAL);
    refused(oc_arena_create_shared("empty", 0, &config), EINVAL);

    char name[32];
    snprintf(name, sizeof name, "example-%d", (int)getpid());
    oc_shared_arena *arena = oc_arena_create_shared(name, 64 * MIB, &config);
    if (arena == NULL) {
        fprintf(stderr, "%s\n", oc_error());
        return 1;
    }
    uint64_t *words = oc_arena_address(arena);
    for (size_t n = 0; n < WORDS; n++)
        words[n] = word(n);

    char *arguments[] = { argv[0], name, NULL };
    pid_t child;
    int status = 1;
    if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ) == 0)
        waitpid(child, &status, 0);
    printf("the other process read what was written: %s\n", status == 0 ? "yes" : "no");

    size_t wrong = 0;
    for (size_t n = 0; n < WORDS; n++)
        wrong += words[n] != ~word(n);
    printf("64 MiB changed by it and read here, %zu words wrong\n", wrong);

    oc_shared_status now;
    if (oc_arena_status(arena, &now) == 0)
        printf("budget %zu MiB, kept: %s; members %zu, orphaned %d\n", now.budget / MIB,
               now.resident + now.parked <= now.budget ? "yes" : "no", now.members, now.orphaned);
    if (oc_arena_discard(arena, 0, oc_arena_size(arena)) == 0)
        printf("discarded: the first word is %d\n", (int)words[0]);
    oc_arena_detach(arena);
    refused(oc_arena_attach("no-such-arena"), ENOENT);

    /* Two arenas in one budget: each has of it what it needs. */
    oc_budget *budget = oc_budget_create(16 * MIB);
    oc_config both = { .budget = 8 * MIB, .share = budget };
    refused(oc_arena_create_shared("both", 4096, &both), EINVAL);
    oc_config sharing = { .share = budget };
    oc_shared_arena *arenas[2];
    for (int which = 0; which < 2; which++) {
        snprintf(name, sizeof name, "example-%d-%d", (int)getpid(), which);
        arenas[which] = oc_arena_create_shared(name, 32 * MIB, &sharing);
        if (arenas[which] == NULL) {
            fprintf(stderr, "%s\n", oc_error());
            return 1;
        }
        words = oc_arena_address(arenas[which]);
        for (size_t n = 0; n < WORDS / 2; n++)
            words[n] = word(n);
    }
    printf("%zu share a budget of %zu MiB, all of it: %s\n", oc_budget_sharers(budget), oc_budget_size(budget) / MIB,
           oc_budget_used(budget) > 14 * MIB ? "yes" : "no");
    if (oc_budget_set(budget, 4 * MIB) != 0)
        printf("refused: %s\n", errno == EBUSY ? "two cannot do with 4 MiB" : oc_error());
    if (oc_budget_set(budget, 32 * MIB) == 0)
        printf("the budget is %zu MiB now\n", oc_budget_size(budget) / MIB);
    oc_arena_detach(arenas[0]);
    oc_arena_detach(arenas[1]);
    oc_budget_drop(budget);
    return 0;
}
