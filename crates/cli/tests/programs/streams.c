/* Forks with open files and a known user whose memory was written to the store long ago.
 *
 *     streams MIB ROUNDS
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 64

static FILE *files[FILES];
static atomic_int stop;

static void fail(const char *what, long round) {
    printf("%s in round %ld\n", what, round);
    fflush(stdout);
    _exit(1);
}

static void *flusher(void *nothing) {
    while (!atomic_load(&stop)) {
        fflush(NULL);
        usleep(200);
    }
    return nothing;
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    long bytes = atol(argv[1]) << 20, rounds = atol(argv[2]);
    if (!getpwuid(0))
        fail("no root", 0);
    for (int n = 0; n < FILES; n++) {
        files[n] = tmpfile();
        if (!files[n] || fprintf(files[n], "file %d\n", n) < 0)
            fail("tmpfile", n);
        /* So that they lie in pages of their own. */
        if (!malloc(5000))
            fail("malloc", n);
    }
    char *data = malloc(bytes);
    pthread_t thread;
    for (long round = 0; round < rounds; round++) {
        if (round == rounds / 2)
            pthread_create(&thread, NULL, flusher, NULL);
        for (long at = 0; at < bytes; at += 512)
            memset(data + at, (int)(at + round), 512);
        pid_t child = fork();
        if (child == 0) {
            if (!getpwuid(0))
                _exit(3);
            for (int n = 0; n < FILES; n++)
                if (fprintf(files[n], "child %d\n", n) < 0 || fflush(files[n]))
                    _exit(4);
            _exit(0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child)
            fail("fork", round);
        if (status)
            fail(WIFSIGNALED(status) ? "a child was killed" : "a child failed", round);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    for (int n = 0; n < FILES; n++)
        if (fprintf(files[n], "parent\n") < 0 || fclose(files[n]))
            fail("fclose", n);
    puts("every byte was right");
    return 0;
}
