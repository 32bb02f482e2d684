/* A disk that stops keeping what it is given, put before the C library: while the file SYNC_TROUBLE is there, no sync
 * of the store's files goes well. Where it says "fail" each one fails, and where it says "stall" none ends.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

static int is_the_store_s(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return ends_with(path, ".db") || ends_with(path, ".db-wal");
}

static char trouble(void) {
    const char *path = getenv("SYNC_TROUBLE");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    int first = fgetc(file);
    fclose(file);
    return first == EOF ? 0 : (char)first;
}

static int synced(int fd, const char *name) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    if (is_the_store_s(fd)) {
        while (trouble() == 's') usleep(10 * 1000);
        if (trouble() == 'f') {
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}
int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
