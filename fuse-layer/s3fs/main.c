// SPDX-License-Identifier: Apache-2.0
/* rac-fuse: S3 as files. Options, mount, one session; the rest is in the objects. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "fuse-layer/s3fs/ops.h"

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "fuse-layer/s3fs/check.h"
#include "fuse-layer/s3fs/drain.h"
#include "fuse-layer/s3fs/mount.h"
#include "fuse-layer/s3fs/options.h"
#include "fuse-layer/s3fs/prefetch.h"
#include "fuse-layer/s3fs/sweep.h"

/* Requests that run on nobody's thread: windows and parts. */
#define POOL_THREADS 24
/* After the unmount: for the session's threads to see it. */
#define SESSION_END_S 2

static struct driver driver;
static pthread_t main_thread;

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "rac-fuse: %s\n", err->msg);
    return 1;
}

/* Few arenas, and blocks up to a read's size kept by them: else each read of a file costs fresh pages. */
static void set_allocator(void)
{
    (void)mallopt(M_ARENA_MAX, 4);
    (void)mallopt(M_MMAP_THRESHOLD, 2 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
}

static void __attribute__((format(printf, 2, 0)))
quiet(enum fuse_log_level level, const char *fmt, va_list ap)
{
    char text[256];
    (void)vsnprintf(text, sizeof text, fmt, ap);
    if (level <= FUSE_LOG_ERR)
        log_error("libfuse", F_S("text", text));
    else
        log_debug("libfuse", F_S("text", text));
}

static int make_driver(const struct options *o, struct err *err)
{
    cleanup_s3_config struct s3_config config = {0};
    if (s3_config_load(&config, err) < 0)
        return -1;
    driver.options = o;
    driver.s3 = s3_new(&config, err);
    if (!driver.s3)
        return -1;
    inodes_init(&driver.inodes);
    /* Tables, stacks, TLS and the buffers of the session's threads need some of it, too: a mebibyte for each.
     */
    driver.memory = memory_new((size_t)(o->memory_bytes - o->memory_bytes / 5));
    driver.pool = pool_new(POOL_THREADS, "rac-fuse-s3");
    driver.spill = spill_new(o->cache_dir, o->cache_bytes, o->memory_bytes);
    driver.prefetch = prefetch_new(&driver);
    driver.sweep = sweep_new(&driver);
    driver.ending = cancel_new();
    driver.started_ms = clock_wall_ms();
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint32_t)driver.started_ms;
    driver.ino_base = (uint64_t)(random | 1u << 30) << 31;
    return 0;
}

static void free_driver(void)
{
    pool_free(driver.pool);
    prefetch_free(driver.prefetch);
    sweep_free(driver.sweep);
    inodes_destroy(&driver.inodes);
    memory_free(driver.memory);
    spill_free(driver.spill);
    s3_free(driver.s3);
    cancel_free(driver.ending);
}

static void *session_run(void *unused)
{
    (void)unused;
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, (unsigned)driver.options->threads);
    fuse_loop_cfg_set_idle_threads(config, 16);
    int result = fuse_session_loop_mt(driver.session, config);
    if (result < 0)
        log_error("session ended", F_I("errno", -result));
    fuse_loop_cfg_destroy(config);
    (void)pthread_kill(main_thread, SIGUSR1);
    return NULL;
}

/* Says that the mount answers, after it has. */
static void tell_ready(const struct options *o, const struct mounted *m)
{
    struct statvfs st;
    if (statvfs(o->mountpoint, &st) < 0)
        log_warn("mount does not answer", F_I("errno", errno));
    if (o->ready_fd >= 0) {
        if (write((int)o->ready_fd, m->own_namespace ? "n" : "1", 1) != 1)
            log_warn("nobody waits for readiness", F_I("errno", errno));
        (void)close((int)o->ready_fd);
    } else if (m->own_namespace) {
        (void)fprintf(stderr,
                      "rac-fuse: mounted in a namespace of its own, since this user may not mount here: only "
                      "`nsenter -t %d -U -m --preserve-credentials` sees it\n",
                      (int)getpid());
    }
}

static int serve(const struct options *o, const struct mounted *m, const sigset_t *signals, struct err *err)
{
    char name[] = "rac-fuse", fd_name[32];
    char *argv[] = {name, NULL};
    struct fuse_args args = {.argc = 1, .argv = argv};
    fuse_set_log_func(quiet);
    driver.session = fuse_session_new(&args, &ops_table, sizeof ops_table, &driver);
    fuse_opt_free_args(&args);
    (void)snprintf(fd_name, sizeof fd_name, "/dev/fd/%d", m->fd);
    if (!driver.session || fuse_session_mount(driver.session, fd_name) < 0)
        return err_set(err, ERR_INTERNAL, "libfuse does not take the mount");
    pthread_t thread;
    main_thread = pthread_self();
    if (pthread_create(&thread, NULL, session_run, NULL) != 0)
        return err_set(err, ERR_INTERNAL, "no thread for the session");
    tell_ready(o, m);

    int number = 0;
    (void)sigwait(signals, &number);
    uint64_t until_ms = clock_mono_ms() + o->flush_timeout_ms;
    unsigned left = drain(&driver, until_ms);
    mount_remove(o->mountpoint, m);
    /* What was written while the rest was stored. */
    left += drain(&driver, until_ms > clock_mono_ms() ? until_ms : clock_mono_ms());
    fuse_session_exit(driver.session);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SESSION_END_S;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0) {
        /* Somebody has a file open, or waits for S3: they see ENOTCONN. */
        log_stop();
        _exit(left + driver.lost ? 1 : 0);
    }
    /* Nobody is left who waits for what the pool does, and it may still talk to the kernel: so it ends before
     * the session is gone, and soon. */
    cancel_fire(driver.ending);
    ops_close_all(&driver);
    pool_free(steal_ptr(&driver.pool));
    fuse_session_destroy(driver.session);
    left += driver.lost;
    return left ? err_set(err, ERR_UPSTREAM, "%u files could not be stored", left) : 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct err err = {0};
    if (options_parse(argc, argv, &o, &err) < 0)
        return fail(&err);
    if (o.help || o.version) {
        if (o.help)
            options_help(stdout);
        else
            (void)puts("rac-fuse " RAC_VERSION);
        options_free(&o);
        return 0;
    }
    set_allocator();
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGUSR1); /* the session has ended */
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    struct mounted mounted;
    /* First, since namespaces are for processes of one thread. */
    if (mount_at(o.mountpoint, o.read_only, &mounted, &err) < 0)
        return fail(&err);
    log_start(STDERR_FILENO, o.log_level, LOG_FORMAT_LOGFMT);
    int result = make_driver(&o, &err);
    if (result == 0)
        result = check_buckets(driver.s3, &o, &signals, &err);
    if (result == 0)
        result = serve(&o, &mounted, &signals, &err);
    mount_remove(o.mountpoint, &mounted);
    if (driver.ending)
        free_driver();
    log_stop();
    if (result < 0)
        (void)fail(&err);
    options_free(&o);
    return result < 0;
}
