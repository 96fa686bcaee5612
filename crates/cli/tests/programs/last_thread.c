/* The first thread leaves; another fills more memory than there is and ends last, with
 * output that only exit() writes. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void *work(void *first) {
    pthread_join(*(pthread_t *)first, NULL);
    enum { blocks = 160, size = 1 << 20 };
    static unsigned char *block[blocks];
    for (int i = 0; i < blocks; i++) {
        block[i] = malloc(size);
        for (int at = 0; at < size; at += 512) block[i][at] = (unsigned char)(i + at / 512);
    }
    for (int i = 0; i < blocks; i++)
        for (int at = 0; at < size; at += 512)
            if (block[i][at] != (unsigned char)(i + at / 512)) _exit(1);
    printf("every byte was right\n");
    return NULL;
}

int main(void) {
    static pthread_t first, last;
    first = pthread_self();
    if (pthread_create(&last, NULL, work, &first) != 0) return 2;
    pthread_exit(NULL);
}
