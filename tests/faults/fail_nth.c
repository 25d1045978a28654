/* A library for LD_PRELOAD: below one folder, the n-th operation that changes the disk fails.
 *
 * Counted are the opening of a file that is made, making a folder, writing, shortening, syncing and renaming.
 *
 *   FAULT_BELOW  the folder; operations elsewhere are neither counted nor touched
 *   FAULT_NTH    which operation fails, from 1; 0 is none
 *   FAULT_STAYS  set: all later operations fail as well, as on a disk that stays full
 *   FAULT_HALF   set: a write that fails has written half of its bytes first, as on a disk that fills up
 *   FAULT_COUNT  a file elsewhere; the number of operations is written there when the program ends
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;

static const char *below(void) { return getenv("FAULT_BELOW"); }

static int is_below(const char *path) {
    const char *folder = below();
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int descriptor_is_below(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* Counts one operation; returns whether it has to fail. */
static int fails(void) {
    const char *nth = getenv("FAULT_NTH");
    long which = nth ? atol(nth) : 0;
    pthread_mutex_lock(&lock);
    long now = ++count;
    pthread_mutex_unlock(&lock);
    int failing = which > 0 && (now == which || (now > which && getenv("FAULT_STAYS")));
    if (failing) errno = ENOSPC;
    return failing;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld\n", count);
        fclose(file);
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                       \
    int name(const char *path, int flags, ...) {                         \
        mode_t mode = 0;                                                 \
        if (flags & (O_CREAT | O_TMPFILE)) {                             \
            va_list more;                                                \
            va_start(more, flags);                                       \
            mode = va_arg(more, mode_t);                                 \
            va_end(more);                                                \
            if ((flags & O_CREAT) && is_below(path) && fails()) return -1; \
        }                                                                \
        return REAL(name)(path, flags, mode);                            \
    }
OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
    if (is_below(path) && fails()) return -1;
    return REAL(mkdir)(path, mode);
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    if (descriptor_is_below(descriptor) && fails()) {
        if (getenv("FAULT_HALF") && length > 1) REAL(write)(descriptor, bytes, length / 2);
        errno = ENOSPC;
        return -1;
    }
    return REAL(write)(descriptor, bytes, length);
}

ssize_t writev(int descriptor, const struct iovec *parts, int number) {
    if (descriptor_is_below(descriptor) && fails()) return -1;
    return REAL(writev)(descriptor, parts, number);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t at) {
    if (descriptor_is_below(descriptor) && fails()) return -1;
    return REAL(pwrite64)(descriptor, bytes, length, at);
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t length, unsigned flags) {
    if (descriptor_is_below(to) && fails()) return -1;
    return REAL(copy_file_range)(from, at, to, to_at, length, flags);
}

int ftruncate64(int descriptor, off64_t length) {
    if (descriptor_is_below(descriptor) && fails()) return -1;
    return REAL(ftruncate64)(descriptor, length);
}

int fsync(int descriptor) {
    if (descriptor_is_below(descriptor) && fails()) return -1;
    return REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
    if (descriptor_is_below(descriptor) && fails()) return -1;
    return REAL(fdatasync)(descriptor);
}

int rename(const char *from, const char *to) {
    if (is_below(to) && fails()) return -1;
    return REAL(rename)(from, to);
}
