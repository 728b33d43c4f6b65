// SPDX-License-Identifier: Apache-2.0
#include "io_faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

#define SHORT (-1) /* what fate() says besides an errno and 0 */

/* The function of that name that ours stands in front of. */
#define NEXT(name)                                                                                           \
    static __typeof__(&name) next;                                                                           \
    if (!next)                                                                                               \
    next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
/* Programs that are built with 64 bits of file offsets, and some libraries, use other names for the same. */
#define SAME(name, as) extern __typeof__(as) as __attribute__((alias(#name)))

static struct io_faults *plan;
static __thread bool inside; /* what we call ourselves is not counted */

/* Before main(), and before any thread; with system calls, since all else is ours. */
__attribute__((constructor)) static void begin(void)
{
    void *here[2];
    const char *path = getenv("IO_FAULTS");
    inside = true;
    (void)backtrace(here, 2); /* loads what it needs */
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *map = (void *)syscall(SYS_mmap, NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void)syscall(SYS_close, fd);
        plan = map == MAP_FAILED ? NULL : map;
    }
    inside = false;
}

/* ---- which calls fail ---- */

static bool names(const char *list, const char *call)
{
    size_t len = strlen(call);
    for (const char *at = list; (at = strstr(at, call)) != NULL; at += len)
        if (at > list && at[-1] == ',' && at[len] == ',')
            return true;
    return false;
}

static const char *path_of(int fd, char *out, size_t cap)
{
    char link[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlinkat, AT_FDCWD, link, out, cap - 1);
    out[n > 0 ? n : 0] = '\0';
    return out;
}

/* Offsets in the program itself, for addr2line. */
static void trace(struct io_fault *f)
{
    void *frames[IO_FAULTS_TRACE];
    Dl_info info;
    int n = backtrace(frames, IO_FAULTS_TRACE);
    for (int i = 0; i < IO_FAULTS_TRACE; ++i) {
        bool known = i < n && dladdr(frames[i], &info) && info.dli_fname && !strstr(info.dli_fname, ".so");
        f->trace[i] = known ? (uint64_t)((char *)frames[i] - (char *)info.dli_fbase) : 0;
    }
}

struct called {
    uintptr_t from;
    bool is_so;
};

static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *frame, void *arg)
{
    struct called *c = arg;
    c->is_so = (uintptr_t)_Unwind_GetRegionStart(frame) == c->from;
    return c->is_so ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* Directly or through others. For each allocation: dladdr() of each frame would take seconds. */
static bool called_from(const char *function)
{
    struct called c = {.from = (uintptr_t)dlsym(RTLD_DEFAULT, function)};
    return c.from && (_Unwind_Backtrace(look_at_frame, &c), c.is_so);
}

/* The innermost function that a library shows. */
static const char *caller(void)
{
    void *frames[IO_FAULTS_TRACE];
    Dl_info own, info;
    int n = dladdr(&plan, &own) ? backtrace(frames, IO_FAULTS_TRACE) : 0;
    for (int i = 0; i < n; ++i)
        if (dladdr((char *)frames[i] - 1, &info) && info.dli_sname && info.dli_fbase != own.dli_fbase)
            return info.dli_sname;
    return "";
}

/* What becomes of this call: 0: nothing, SHORT, or the errno it fails with. */
static int fate(const char *call, const char *path, int fd)
{
    char text[4096];
    if (!plan || inside)
        return 0;
    for (struct io_fault *f = plan->rules; f < plan->rules + IO_FAULTS_RULES; ++f) {
        if (!atomic_load_explicit(&f->armed, memory_order_acquire) || !names(f->calls, call))
            continue;
        if (!path && fd >= 0 && f->match[0])
            path = path_of(fd, text, sizeof text);
        if (f->match[0] && strcmp(call, "malloc") == 0) {
            inside = true;
            path = called_from(f->match) ? f->match : NULL;
            inside = false;
        }
        if (f->match[0] && (!path || !strstr(path, f->match)))
            continue;
        uint64_t n = atomic_fetch_add(&f->seen, 1) + 1;
        if (n < f->first || n - f->first >= f->times)
            continue;
        if (atomic_fetch_add(&f->hit, 1) == 0) {
            inside = true;
            if (strcmp(call, "malloc") == 0)
                path = caller();
            (void)snprintf(f->last, sizeof f->last, "%s %.240s", call, path ? path : "");
            trace(f);
            inside = false;
        }
        return f->error ? f->error : SHORT;
    }
    return 0;
}

/* For calls that cannot be short. */
static bool fails(const char *call, const char *path, int fd)
{
    int e = fate(call, path, fd);
    if (e <= 0)
        return false;
    errno = e;
    return true;
}

/* For those that can: false, or *len is what is left of it. */
static bool transfer_fails(const char *call, int fd, size_t *len)
{
    int e = fate(call, NULL, fd);
    if (e == SHORT && *len > 1)
        *len /= 2;
    if (e <= 0)
        return false;
    errno = e;
    return true;
}

/* ---- reads and writes ---- */

ssize_t read(int fd, void *p, size_t len)
{
    NEXT(read);
    return transfer_fails("read", fd, &len) ? -1 : next(fd, p, len);
}

ssize_t write(int fd, const void *p, size_t len)
{
    NEXT(write);
    return transfer_fails("write", fd, &len) ? -1 : next(fd, p, len);
}

ssize_t pread(int fd, void *p, size_t len, off_t at)
{
    NEXT(pread);
    return transfer_fails("pread", fd, &len) ? -1 : next(fd, p, len, at);
}
SAME(pread, pread64);

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
    NEXT(pwrite);
    return transfer_fails("pwrite", fd, &len) ? -1 : next(fd, p, len, at);
}
SAME(pwrite, pwrite64);

/* What -D_FORTIFY_SOURCE makes of them. */
ssize_t __read_chk(int fd, void *p, size_t len, size_t size);
ssize_t __read_chk(int fd, void *p, size_t len, size_t size)
{
    return len > size ? (abort(), -1) : read(fd, p, len);
}

ssize_t __pread_chk(int fd, void *p, size_t len, off_t at, size_t size);
ssize_t __pread_chk(int fd, void *p, size_t len, off_t at, size_t size)
{
    return len > size ? (abort(), -1) : pread(fd, p, len, at);
}
extern __typeof__(__pread_chk) __pread64_chk __attribute__((alias("__pread_chk")));

/* Short: the first vector alone, or half of it. */
ssize_t writev(int fd, const struct iovec *v, int count)
{
    NEXT(writev);
    struct iovec one;
    int e = fate("writev", NULL, fd);
    if (e > 0) {
        errno = e;
        return -1;
    }
    if (e == 0 || count < 1)
        return next(fd, v, count);
    one = v[0];
    if (count == 1 && one.iov_len > 1)
        one.iov_len /= 2;
    return next(fd, &one, 1);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t len)
{
    NEXT(sendfile);
    return transfer_fails("sendfile", in, &len) ? -1 : next(out, in, offset, len);
}
SAME(sendfile, sendfile64);

ssize_t send(int fd, const void *p, size_t len, int flags)
{
    NEXT(send);
    return transfer_fails("send", fd, &len) ? -1 : next(fd, p, len, flags);
}

ssize_t recv(int fd, void *p, size_t len, int flags)
{
    NEXT(recv);
    return transfer_fails("recv", fd, &len) ? -1 : next(fd, p, len, flags);
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
    NEXT(mmap);
    return fd >= 0 && fails("mmap", NULL, fd) ? MAP_FAILED : next(at, len, prot, flags, fd, offset);
}
SAME(mmap, mmap64);

/* ---- files ---- */

/* "create": whichever function opens a file to write to it. */
static bool open_fails(const char *call, const char *path, int flags)
{
    return fails(call, path, -1) || (flags & (O_WRONLY | O_RDWR | O_CREAT) && fails("create", path, -1));
}

static mode_t mode_of(int flags, va_list ap)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    NEXT(open);
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    return open_fails("open", path, flags) ? -1 : next(path, flags, mode);
}
SAME(open, open64);

int openat(int dir, const char *path, int flags, ...)
{
    NEXT(openat);
    char text[4096];
    va_list ap;
    va_start(ap, flags);
    mode_t mode = mode_of(flags, ap);
    va_end(ap);
    /* A relative name is one of a folder that is open. */
    const char *shown = plan && dir >= 0 && path[0] != '/' ? path_of(dir, text, sizeof text) : path;
    return open_fails("openat", shown, flags) ? -1 : next(dir, path, flags, mode);
}
SAME(openat, openat64);

FILE *fopen(const char *path, const char *mode)
{
    NEXT(fopen);
    return fails("fopen", path, -1) ? NULL : next(path, mode);
}
SAME(fopen, fopen64);

DIR *opendir(const char *path)
{
    NEXT(opendir);
    return fails("opendir", path, -1) ? NULL : next(path);
}

/* Closed in any case, as Linux does it. */
int close(int fd)
{
    NEXT(close);
    int e = fate("close", NULL, fd), rc = next(fd);
    if (e <= 0)
        return rc;
    errno = e;
    return -1;
}

int fsync(int fd)
{
    NEXT(fsync);
    return fails("fsync", NULL, fd) ? -1 : next(fd);
}

int fdatasync(int fd)
{
    NEXT(fdatasync);
    return fails("fdatasync", NULL, fd) ? -1 : next(fd);
}

int ftruncate(int fd, off_t len)
{
    NEXT(ftruncate);
    return fails("ftruncate", NULL, fd) ? -1 : next(fd, len);
}
SAME(ftruncate, ftruncate64);

int fallocate(int fd, int mode, off_t at, off_t len)
{
    NEXT(fallocate);
    return fails("fallocate", NULL, fd) ? -1 : next(fd, mode, at, len);
}
SAME(fallocate, fallocate64);

/* Returns its error, as posix_memalign and pthread_create do. */
int posix_fallocate(int fd, off_t at, off_t len)
{
    NEXT(posix_fallocate);
    int e = fate("fallocate", NULL, fd);
    return e > 0 ? e : next(fd, at, len);
}
SAME(posix_fallocate, posix_fallocate64);

int rename(const char *from, const char *to)
{
    NEXT(rename);
    return fails("rename", to, -1) ? -1 : next(from, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    NEXT(renameat2);
    return fails("rename", to, -1) ? -1 : next(from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
    NEXT(link);
    return fails("link", to, -1) ? -1 : next(from, to);
}

int unlink(const char *path)
{
    NEXT(unlink);
    return fails("unlink", path, -1) ? -1 : next(path);
}

int unlinkat(int dir, const char *path, int flags)
{
    NEXT(unlinkat);
    return fails("unlink", NULL, dir) ? -1 : next(dir, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir);
    return fails("mkdir", path, -1) ? -1 : next(path, mode);
}

int stat(const char *path, struct stat *st)
{
    NEXT(stat);
    return fails("stat", path, -1) ? -1 : next(path, st);
}

int stat64(const char *path, struct stat64 *st)
{
    NEXT(stat64);
    return fails("stat", path, -1) ? -1 : next(path, st);
}

int fstat(int fd, struct stat *st)
{
    NEXT(fstat);
    return fails("fstat", NULL, fd) ? -1 : next(fd, st);
}

int fstat64(int fd, struct stat64 *st)
{
    NEXT(fstat64);
    return fails("fstat", NULL, fd) ? -1 : next(fd, st);
}

int fstatat(int dir, const char *path, struct stat *st, int flags)
{
    NEXT(fstatat);
    return fails("fstatat", dir >= 0 ? NULL : path, dir) ? -1 : next(dir, path, st, flags);
}

int statvfs(const char *path, struct statvfs *st)
{
    NEXT(statvfs);
    return fails("statvfs", path, -1) ? -1 : next(path, st);
}

/* ---- sockets, pipes, what loops stand on, threads ---- */

int socket(int family, int type, int protocol)
{
    NEXT(socket);
    return fails("socket", NULL, -1) ? -1 : next(family, type, protocol);
}

int socketpair(int family, int type, int protocol, int fds[2])
{
    NEXT(socketpair);
    return fails("socketpair", NULL, -1) ? -1 : next(family, type, protocol, fds);
}

/* A connection that is refused a place stays in the queue, as with the kernel's own EMFILE. */
int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    NEXT(accept4);
    return fails("accept4", NULL, fd) ? -1 : next(fd, sa, len, flags);
}

int accept(int fd, struct sockaddr *sa, socklen_t *len)
{
    NEXT(accept);
    return fails("accept4", NULL, fd) ? -1 : next(fd, sa, len);
}

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    NEXT(connect);
    return fails("connect", NULL, fd) ? -1 : next(fd, sa, len);
}

int pipe(int fds[2])
{
    NEXT(pipe);
    return fails("pipe", NULL, -1) ? -1 : next(fds);
}

int pipe2(int fds[2], int flags)
{
    NEXT(pipe2);
    return fails("pipe", NULL, -1) ? -1 : next(fds, flags);
}

int eventfd(unsigned value, int flags)
{
    NEXT(eventfd);
    return fails("eventfd", NULL, -1) ? -1 : next(value, flags);
}

int timerfd_create(int id, int flags)
{
    NEXT(timerfd_create);
    return fails("timerfd", NULL, -1) ? -1 : next(id, flags);
}

int epoll_create1(int flags)
{
    NEXT(epoll_create1);
    return fails("epoll", NULL, -1) ? -1 : next(flags);
}

int epoll_create(int size)
{
    NEXT(epoll_create);
    return fails("epoll", NULL, -1) ? -1 : next(size);
}

int pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    NEXT(pthread_create);
    int e = fate("pthread_create", NULL, -1);
    return e > 0 ? e : next(ret, attr, fn, arg);
}

/* ---- memory ----
 * In a library of its own, memory_faults.so: a leak checker must see who allocates what, and that is not us.
 */

#ifdef MEMORY_FAULTS
void *malloc(size_t size)
{
    NEXT(malloc);
    return fails("malloc", NULL, -1) ? NULL : next(size);
}

void *calloc(size_t count, size_t size)
{
    NEXT(calloc);
    return fails("malloc", NULL, -1) ? NULL : next(count, size);
}

void *realloc(void *p, size_t size)
{
    NEXT(realloc);
    return size && fails("malloc", NULL, -1) ? NULL : next(p, size);
}

char *strdup(const char *s)
{
    NEXT(strdup);
    return fails("malloc", NULL, -1) ? NULL : next(s);
}

int posix_memalign(void **ret, size_t align, size_t size)
{
    NEXT(posix_memalign);
    int e = fate("malloc", NULL, -1);
    return e > 0 ? e : next(ret, align, size);
}
#endif

/* ---- the clock on the wall ---- */

static int64_t shift(void)
{
    return plan ? atomic_load_explicit(&plan->wall_shift_ns, memory_order_relaxed) : 0;
}

static void shift_time(struct timespec *t)
{
    int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + shift();
    t->tv_sec = ns / 1000000000;
    t->tv_nsec = ns % 1000000000;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    NEXT(clock_gettime);
    int rc = next(id, t);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        shift_time(t);
    return rc;
}

time_t time(time_t *ret)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &t);
    if (ret)
        *ret = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    NEXT(gettimeofday);
    struct timespec t;
    int rc = next(tv, zone);
    (void)clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec;
    tv->tv_usec = t.tv_nsec / 1000;
    return rc;
}

/* Times of files come from the kernel's clock; "now" is ours. */
int futimens(int fd, const struct timespec times[2])
{
    NEXT(futimens);
    struct timespec now[2];
    if (times || !shift())
        return next(fd, times);
    (void)clock_gettime(CLOCK_REALTIME, &now[0]);
    now[1] = now[0];
    return next(fd, now);
}
