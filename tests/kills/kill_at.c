/* Ends its own process at one file operation below a folder, so that a test can stop a command between any two of them.
 *
 * Preloaded (LD_PRELOAD) into a process that calls kill_at() before its work. Counted are the calls that change
 * something: writes, syncs, truncations, opening for writing, names made, moved and removed. Calls that libc makes
 * inside itself (stdio's) are not seen.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOT, BEFORE, AFTER, HALF, INTERRUPT };

static char below[PATH_MAX];
static long due = -1;
static int manner = NOT;
static int log_to = -1;
static long seen;

/* Counts from now on; at call number `at` (from 1) the process ends in the given manner. Every call is written to `log`
 * unless it is negative. */
void kill_at(const char *folder, long at, int how, int log) {
    snprintf(below, sizeof below, "%s", folder);
    due = at;
    manner = how;
    log_to = log;
    seen = 0;
}

static void end(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
}

static int counted(const char *name, const char *path) {
    size_t n = strlen(below);
    if (n == 0 || strncmp(path, below, n) != 0 || (path[n] != '/' && path[n] != 0))
        return NOT;
    long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (log_to >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", number, name, path + n);
        syscall(SYS_write, log_to, line, (size_t)length);
    }
    if (number != due)
        return NOT;
    if (manner == BEFORE)
        end();
    if (manner == INTERRUPT)
        syscall(SYS_kill, getpid(), SIGINT);
    return manner;
}

static int file(const char *name, int fd) {
    char link[64], path[PATH_MAX];
    if (below[0] == 0)
        return NOT;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return NOT;
    path[n] = 0;
    return counted(name, path);
}

static int at(const char *name, int folder, const char *path) {
    char whole[2 * PATH_MAX], start[PATH_MAX] = "";
    if (below[0] == 0 || path == NULL)
        return NOT;
    if (path[0] == '/')
        return counted(name, path);
    if (folder == AT_FDCWD) {
        if (getcwd(start, sizeof start) == NULL)
            return NOT;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t n = readlink(link, start, sizeof start - 1);
        start[n < 0 ? 0 : n] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", start, path);
    return counted(name, whole);
}

/* The call itself; ends the process behind it where that is due. */
#define DONE(how, type, ...)                 \
    do {                                     \
        type result = (type)syscall(__VA_ARGS__); \
        if ((how) == AFTER || (how) == HALF) \
            end();                           \
        return result;                       \
    } while (0)

ssize_t write(int fd, const void *from, size_t n) {
    int how = file("write", fd);
    DONE(how, ssize_t, SYS_write, fd, from, how == HALF ? n / 2 : n);
}

ssize_t pwrite(int fd, const void *from, size_t n, off_t place) {
    int how = file("pwrite", fd);
    DONE(how, ssize_t, SYS_pwrite64, fd, from, how == HALF ? n / 2 : n, place);
}

ssize_t pwrite64(int fd, const void *from, size_t n, off64_t place) {
    int how = file("pwrite", fd);
    DONE(how, ssize_t, SYS_pwrite64, fd, from, how == HALF ? n / 2 : n, place);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    int how = file("writev", fd);
    DONE(how, ssize_t, SYS_writev, fd, parts, how == HALF && n > 1 ? n / 2 : n);
}

ssize_t sendfile(int to, int from, off_t *place, size_t n) {
    int how = file("sendfile", to);
    DONE(how, ssize_t, SYS_sendfile, to, from, place, how == HALF ? n / 2 : n);
}

ssize_t sendfile64(int to, int from, off64_t *place, size_t n) {
    int how = file("sendfile", to);
    DONE(how, ssize_t, SYS_sendfile, to, from, place, how == HALF ? n / 2 : n);
}

int fsync(int fd) {
    DONE(file("fsync", fd), int, SYS_fsync, fd);
}

int fdatasync(int fd) {
    DONE(file("fdatasync", fd), int, SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t n) {
    DONE(file("ftruncate", fd), int, SYS_ftruncate, fd, n);
}

int ftruncate64(int fd, off64_t n) {
    DONE(file("ftruncate", fd), int, SYS_ftruncate, fd, n);
}

int rename(const char *from, const char *to) {
    DONE(at("rename", AT_FDCWD, to), int, SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    DONE(at("rename", to_folder, to), int, SYS_renameat2, from_folder, from, to_folder, to, 0);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    DONE(at("rename", to_folder, to), int, SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int link(const char *from, const char *to) {
    DONE(at("link", AT_FDCWD, to), int, SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    DONE(at("unlink", AT_FDCWD, path), int, SYS_unlinkat, AT_FDCWD, path, 0);
}

int unlinkat(int folder, const char *path, int flags) {
    DONE(at("unlink", folder, path), int, SYS_unlinkat, folder, path, flags);
}

int rmdir(const char *path) {
    DONE(at("rmdir", AT_FDCWD, path), int, SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdir(const char *path, mode_t mode) {
    DONE(at("mkdir", AT_FDCWD, path), int, SYS_mkdirat, AT_FDCWD, path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    DONE(at("mkdir", folder, path), int, SYS_mkdirat, folder, path, mode);
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    int changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    DONE(changes ? at("open", folder, path) : NOT, int, SYS_openat, folder, path, flags, mode);
}

static mode_t mode_of(int flags, va_list *more) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(*more, mode_t) : 0;
}

#define OPENS(name)                                                \
    int name(const char *path, int flags, ...) {                   \
        va_list more;                                              \
        va_start(more, flags);                                     \
        mode_t mode = mode_of(flags, &more);                       \
        va_end(more);                                              \
        return opened(AT_FDCWD, path, flags, mode);                \
    }

#define OPENS_AT(name)                                             \
    int name(int folder, const char *path, int flags, ...) {       \
        va_list more;                                              \
        va_start(more, flags);                                     \
        mode_t mode = mode_of(flags, &more);                       \
        va_end(more);                                              \
        return opened(folder, path, flags, mode);                  \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
