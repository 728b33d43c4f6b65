// SPDX-License-Identifier: Apache-2.0
/*
 * Death at a chosen call: LD_PRELOADed into rac-proxy by the crash rig (crash_disk.py has the other side).
 *
 * Each call that changes what is below the folder CRASH_BOX is a point: what it does and to what, such as
 * "rename blob" or "sync state-wal". The file control in CRASH_SIDE, which the rig maps as well, says which
 * point is armed, at its how manieth time the process dies, and whether before the call, after it, while it
 * takes long, or, if it writes, with half of it done. SIGKILL, from within: no handler, no flush, no goodbye.
 *
 * Each call is also written to the file log in CRASH_SIDE, with the inodes of file and folder. With `power`
 * set that log holds what is needed to take the call back, too: the bytes that were there before, and a link
 * to each file that is removed. A sync says from which entry on things are not durable yet. So the rig can
 * take back after the death what was not synced, as a power cut would.
 *
 * Not seen: what is written through a map. SQLite does that to its -shm files only, which mean nothing after
 * a crash.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_LEN 4096

enum { BEFORE, AFTER, TORN, HELD };

#define HELD_US 150000

/* Little-endian, and with crash_disk.py's idea of where things are. */
struct control {
    _Atomic uint32_t left; /* calls at that point until the chosen one: 1 is the next */
    uint32_t mode, power, pid;
    _Atomic uint32_t fired;
    char point[60]; /* empty: none */
};

struct entry {
    uint32_t magic, number;
    char op[8], what[16];
    uint64_t ino,
        folder; /* folder: of a name that is made or goes; sync: from which number on it says nothing */
    int64_t at, size, len;      /* a write's place, the size before, the write's length */
    uint32_t path, path2, data; /* bytes that follow, in this order */
    uint32_t unused;
};

static struct control *control;
static char box[PATH_LEN], side[PATH_LEN];
static size_t box_len;
static int log_fd = -1;
static uint32_t number;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
    const char *b = getenv("CRASH_BOX"), *s = getenv("CRASH_SIDE");
    char path[PATH_LEN + 16];
    if (!b || !s)
        return;
    (void)snprintf(box, sizeof box, "%s/", b);
    (void)snprintf(side, sizeof side, "%s", s);
    box_len = strlen(box);
    (void)snprintf(path, sizeof path, "%s/control", s);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        _exit(99);
    (void)close(fd);
    control = map;
    (void)snprintf(path, sizeof path, "%s/log", s);
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

/* In a container it is always the same one. */
pid_t getpid(void);
pid_t getpid(void)
{
    return control && control->pid ? (pid_t)control->pid : (pid_t)syscall(SYS_getpid);
}

static void die(void)
{
    atomic_store(&control->fired, 1);
    for (;;)
        (void)syscall(SYS_kill, (pid_t)syscall(SYS_getpid), SIGKILL);
}

/* Before a call, under the lock. A call that is held takes so long that whoever does not wait for it goes on,
 * answers, and is found out: then it is never made. */
static void before(int chosen)
{
    if (!chosen || (control->mode != BEFORE && control->mode != HELD))
        return;
    if (control->mode == HELD) {
        pthread_mutex_unlock(&lock);
        (void)usleep(HELD_US);
    }
    die();
}

/* ---- which point ---- */

/* NULL: none of ours. Absolute paths only: rac-proxy is started with one. */
static const char *what_is(const char *path)
{
    static const struct {
        const char *part, *what;
    } kinds[] = {{"data/partial/put.", "put"},
                 {"data/partial/check.", "check"},
                 {"data/partial/", "partial"},
                 {"data/blobs/", "blob"},
                 {"data/quarantine/", "quarantine"},
                 {"data/state.db-wal", "state-wal"},
                 {"data/state.db-shm", "state-shm"},
                 {"data/state.db", "state"},
                 {"data/records.db-wal", "records-wal"},
                 {"data/records.db-shm", "records-shm"},
                 {"data/records.db", "records"},
                 {"data/rac-proxy.lock", "lock"},
                 {"data", "data"},
                 {"backup", "backup"}};
    if (!box_len || strncmp(path, box, box_len) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; ++i)
        if (strncmp(path + box_len, kinds[i].part, strlen(kinds[i].part)) == 0)
            return kinds[i].what;
    return "other";
}

static const char *what_fd(int fd, char path[PATH_LEN])
{
    char name[32];
    int error = errno;
    if (!box_len)
        return NULL;
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, path, PATH_LEN - 1);
    errno = error;
    if (n <= 0)
        return NULL;
    path[n] = '\0';
    return what_is(path);
}

/* Whether this call is the one. */
static int is_chosen(const char *op, const char *what)
{
    char point[64];
    (void)snprintf(point, sizeof point, "%s %s", op, what);
    return strcmp(point, control->point) == 0 && atomic_fetch_sub(&control->left, 1) == 1;
}

/* ---- the log; under the lock ---- */

static uint64_t inode_of(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 ? st.st_ino : 0;
}

static uint64_t folder_of(const char *path)
{
    char folder[PATH_LEN];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = '\0';
    return inode_of(folder);
}

static void note(struct entry *e, const char *op, const char *what, const char *path, const char *path2,
                 const void *data)
{
    e->magic = 0x48535243;
    e->number = ++number;
    (void)snprintf(e->op, sizeof e->op, "%s", op);
    (void)snprintf(e->what, sizeof e->what, "%s", what);
    e->path = (uint32_t)strlen(path);
    e->path2 = path2 ? (uint32_t)strlen(path2) : 0;
    const struct iovec v[] = {{e, sizeof *e},
                              {(void *)(uintptr_t)path, e->path},
                              {(void *)(uintptr_t)path2, e->path2},
                              {(void *)(uintptr_t)data, e->data}};
    if (syscall(SYS_writev, log_fd, v, 4) < 0)
        _exit(98);
}

/* What a change of [at, at + len) takes away, read before it is made; the caller frees. */
static void *bytes_before(const char *path, int64_t at, int64_t len, struct entry *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return NULL;
    e->ino = st.st_ino;
    e->at = at;
    e->len = len;
    e->size = st.st_size;
    if (!control->power || at >= st.st_size)
        return NULL;
    size_t want = (size_t)(at + len < st.st_size ? len : st.st_size - at);
    void *data = malloc(want ? want : 1);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t n = fd < 0 || !data ? -1 : syscall(SYS_pread64, fd, data, want, at);
    if (fd >= 0)
        (void)syscall(SYS_close, fd);
    e->data = n > 0 ? (uint32_t)n : 0;
    return data;
}

/* ---- bytes ---- */

static ssize_t write_at(int fd, const void *p, size_t len, int64_t at, int has_place)
{
    return has_place ? syscall(SYS_pwrite64, fd, p, len, at) : syscall(SYS_write, fd, p, len);
}

static ssize_t do_write(int fd, const void *p, size_t len, int64_t at, int has_place)
{
    char path[PATH_LEN];
    struct entry e = {0};
    const char *what = what_fd(fd, path);
    if (!what)
        return write_at(fd, p, len, at, has_place);
    pthread_mutex_lock(&lock);
    int chosen = is_chosen("write", what);
    before(chosen);
    void *data = bytes_before(path, has_place ? at : lseek(fd, 0, SEEK_CUR), (int64_t)len, &e);
    note(&e, "write", what, path, NULL, data);
    free(data);
    ssize_t n = write_at(fd, p, chosen && control->mode == TORN ? (len + 1) / 2 : len, at, has_place);
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t write(int fd, const void *p, size_t len)
{
    return do_write(fd, p, len, 0, 0);
}

ssize_t pwrite(int fd, const void *p, size_t len, off_t at)
{
    return do_write(fd, p, len, at, 1);
}

ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at);
ssize_t pwrite64(int fd, const void *p, size_t len, off64_t at)
{
    return do_write(fd, p, len, at, 1);
}

int ftruncate(int fd, off_t size)
{
    char path[PATH_LEN];
    struct entry e = {0};
    const char *what = what_fd(fd, path);
    if (!what)
        return (int)syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int chosen = is_chosen("cut", what);
    before(chosen);
    void *data = bytes_before(path, size, INT32_MAX, &e);
    note(&e, "cut", what, path, NULL, data);
    free(data);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    return rc;
}

int ftruncate64(int fd, off64_t size);
int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

/* ---- syncs: not under the lock, others go on meanwhile ---- */

static int do_sync(int fd, long call)
{
    char path[PATH_LEN];
    struct entry e = {0};
    struct stat st;
    const char *what = what_fd(fd, path);
    if (!what || fstat(fd, &st) < 0)
        return (int)syscall(call, fd);
    const char *op = S_ISDIR(st.st_mode) ? "syncdir" : "sync";
    pthread_mutex_lock(&lock);
    int chosen = is_chosen(op, what);
    before(chosen);
    e.ino = st.st_ino;
    e.folder = number + 1;
    pthread_mutex_unlock(&lock);
    int rc = (int)syscall(call, fd);
    int error = errno;
    pthread_mutex_lock(&lock);
    if (rc == 0)
        note(&e, op, what, path, NULL, NULL);
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

int fsync(int fd)
{
    return do_sync(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return do_sync(fd, SYS_fdatasync);
}

/* ---- names ---- */

static void full_path(int folder, const char *name, char path[PATH_LEN])
{
    char link[32];
    if (folder == AT_FDCWD || *name == '/') {
        (void)snprintf(path, PATH_LEN, "%s", name);
        return;
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, path, PATH_LEN - 1);
    n = n < 0 ? 0 : n;
    (void)snprintf(path + n, (size_t)(PATH_LEN - n), "/%s", name);
}

static int do_open(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_LEN];
    struct entry e = {0};
    full_path(folder, name, path);
    const char *what = flags & O_CREAT ? what_is(path) : NULL;
    if (!what || inode_of(path))
        return (int)syscall(SYS_openat, folder, name, flags, mode);
    pthread_mutex_lock(&lock);
    int chosen = is_chosen("make", what);
    before(chosen);
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode), error = errno;
    e.ino = inode_of(path);
    e.folder = folder_of(path);
    if (fd >= 0)
        note(&e, "make", what, path, NULL, NULL);
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

static mode_t mode_of(int flags, va_list more)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

#define OPEN(folder, name, flags)                                                                            \
    va_list more;                                                                                            \
    va_start(more, flags);                                                                                   \
    mode_t mode = mode_of(flags, more);                                                                      \
    va_end(more);                                                                                            \
    return do_open(folder, name, flags, mode)

int open(const char *name, int flags, ...)
{
    OPEN(AT_FDCWD, name, flags);
}

int open64(const char *name, int flags, ...)
{
    OPEN(AT_FDCWD, name, flags);
}

int openat(int folder, const char *name, int flags, ...)
{
    OPEN(folder, name, flags);
}

int openat64(int folder, const char *name, int flags, ...)
{
    OPEN(folder, name, flags);
}

int mkdir(const char *path, mode_t mode)
{
    struct entry e = {0};
    const char *what = what_is(path);
    if (!what || inode_of(path))
        return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    pthread_mutex_lock(&lock);
    int chosen = is_chosen("mkdir", what);
    before(chosen);
    int rc = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode), error = errno;
    e.ino = inode_of(path);
    e.folder = folder_of(path);
    if (rc == 0)
        note(&e, "mkdir", what, path, NULL, NULL);
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

static int do_rename(const char *from, const char *to, unsigned flags)
{
    struct entry e = {0};
    const char *what = what_is(to);
    if (!what)
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
    pthread_mutex_lock(&lock);
    int chosen = is_chosen("rename", what);
    before(chosen);
    e.ino = inode_of(from);
    e.folder = folder_of(to);
    int rc = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags), error = errno;
    if (rc == 0)
        note(&e, "rename", what, to, from, NULL);
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

int rename(const char *from, const char *to)
{
    return do_rename(from, to, 0);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char a[PATH_LEN], b[PATH_LEN];
    full_path(from_folder, from, a);
    full_path(to_folder, to, b);
    return do_rename(a, b, flags);
}

int unlinkat(int folder, const char *name, int flags)
{
    char path[PATH_LEN], kept[2 * PATH_LEN];
    struct entry e = {0};
    full_path(folder, name, path);
    const char *what = what_is(path);
    e.ino = what ? inode_of(path) : 0;
    if (!e.ino)
        return (int)syscall(SYS_unlinkat, folder, name, flags);
    pthread_mutex_lock(&lock);
    int chosen = is_chosen("unlink", what);
    before(chosen);
    e.folder = folder_of(path);
    (void)snprintf(kept, sizeof kept, "%s/links/%u", side, number + 1);
    if (control->power)
        (void)syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0);
    note(&e, "unlink", what, path, kept, NULL);
    int rc = (int)syscall(SYS_unlinkat, folder, name, flags), error = errno;
    if (chosen)
        die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return rc;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}
