/* A disk whose power can be cut, put before the C library: what was written to the store's files and not
 * synced is lost.
 *
 * Each file has a shadow in the folder POWER_SHADOWS, which holds what is on the disk for sure: a write goes
 * there when the file is synced after it. As real disks do, some writes get there early, whole or in part, and
 * past others (POWER_EARLY: how many of 100). Whoever cuts the power kills the process, and puts the shadows in
 * the files' places. With POWER_LIES set nothing ever reaches the shadows by a sync: a disk that lies.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct change {
    struct change *next;
    off_t at;
    size_t length; /* of data; where there is none it is a truncation to `at` */
    char *data;
};

struct file {
    char path[4096];
    int shadow;
    pthread_mutex_t syncing; /* a sync also waits for what another one has taken on */
    struct change *first, **end;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[8];
static int file_count;
static unsigned long long luck = 88172645463325252ULL;

static int chance(int of_a_hundred) {
    luck ^= luck << 13, luck ^= luck >> 7, luck ^= luck << 17;
    return (int)(luck % 100) < of_a_hundred;
}

static int early(void) {
    const char *text = getenv("POWER_EARLY");
    return text ? atoi(text) : 0;
}

static void die(const char *why) {
    perror(why);
    abort();
}

static ssize_t really_pwrite(int fd, const void *data, size_t length, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return real(fd, data, length, at);
}

static int really_truncate(int fd, off_t length) {
    static int (*real)(int, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "ftruncate64");
    return real(fd, length);
}

static int ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

/* What is known of the file behind fd; null where it is none of the store's. The lock is held. By its path: the
 * number of a file that was deleted is soon another's. */
static struct file *file_of(int fd) {
    char link[64], path[4096], shadow[8192];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    if (!ends_with(path, ".db") && !ends_with(path, ".db-wal")) return NULL;
    for (int i = 0; i < file_count; i++)
        if (!strcmp(files[i].path, path)) return &files[i];
    if (file_count == 8) abort();
    struct file *file = &files[file_count++];
    strcpy(file->path, path);
    file->first = NULL, file->end = &file->first;
    pthread_mutex_init(&file->syncing, NULL);
    snprintf(shadow, sizeof shadow, "%s%s", getenv("POWER_SHADOWS"), strrchr(path, '/'));
    file->shadow = open(shadow, O_RDWR | O_CREAT, 0600);
    if (file->shadow < 0) die(shadow);
    return file;
}

static void apply(struct file *file, struct change *change, size_t length) {
    if (!change->data) {
        if (really_truncate(file->shadow, change->at)) die("the shadow");
    } else if (really_pwrite(file->shadow, change->data, length, change->at) != (ssize_t)length) {
        die("the shadow");
    }
}

static void note(struct file *file, const void *data, size_t length, off_t at) {
    struct change *change = calloc(1, sizeof *change);
    if (!change) abort();
    change->at = at, change->length = length;
    if (data) {
        if (!(change->data = malloc(length))) abort();
        memcpy(change->data, data, length);
        if (chance(early())) apply(file, change, chance(50) ? length : length / 2);
    }
    *file->end = change, file->end = &change->next;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t at) {
    pthread_mutex_lock(&lock);
    ssize_t written = really_pwrite(fd, data, length, at);
    struct file *file = file_of(fd);
    if (file && written > 0) note(file, data, (size_t)written, at);
    pthread_mutex_unlock(&lock);
    return written;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t at) { return pwrite64(fd, data, length, at); }

int ftruncate64(int fd, off_t length) {
    pthread_mutex_lock(&lock);
    int failed = really_truncate(fd, length);
    struct file *file = file_of(fd);
    if (file && !failed) note(file, NULL, 0, length);
    pthread_mutex_unlock(&lock);
    return failed;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* What was written before the sync began is on the disk when it ends, and nothing else for sure. */
static int synced(int fd, const char *name) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    pthread_mutex_lock(&lock);
    struct file *file = file_of(fd);
    pthread_mutex_unlock(&lock);
    if (!file) return real(fd);
    pthread_mutex_lock(&file->syncing);
    pthread_mutex_lock(&lock);
    struct change *change = file->first;
    file->first = NULL, file->end = &file->first;
    pthread_mutex_unlock(&lock);
    int failed = real(fd);
    pthread_mutex_lock(&lock);
    while (change) {
        struct change *next = change->next;
        if (!failed && !getenv("POWER_LIES")) apply(file, change, change->length);
        free(change->data), free(change), change = next;
    }
    pthread_mutex_unlock(&lock);
    pthread_mutex_unlock(&file->syncing);
    return failed;
}
int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }
