// SPDX-License-Identifier: Apache-2.0
#include "fuse-layer/init/supervise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "fuse-layer/init/descriptors.h"
#include "fuse-layer/init/driver.h"
#include "fuse-layer/init/orphans.h"
#include "fuse-layer/init/say.h"

#define ORPHANS_LOOK_MS 20  /* between two looks at who is left */
#define ORPHANS_KILL_MS 500 /* for killed ones to close their files */

enum state { STARTING, RUNNING, ORPHANS, FLUSHING, KILLING, DONE };

struct supervisor {
    const struct options *options;
    struct command *command;
    struct signals signals;
    struct terminal terminal;
    struct driver driver;
    struct caps caps; /* as found, before another namespace gave us more */
    enum state state;
    uint64_t deadline_ms; /* monotonic; 0 = none */
    pid_t pid;            /* of the command; 0 = not started, or ended */
    int code;             /* exit code of the command */
    int told_to_end;      /* the signal that did, before the command was started */
    uint64_t held;        /* signals for the command, before it was started; bit n - 1 = signal n */
    bool mounted, orphans_killed;
};

static void enter(struct supervisor *s, enum state state)
{
    const uint64_t now = clock_mono_ms();
    s->state = state;
    s->deadline_ms = 0;
    switch (state) {
    case STARTING:
        s->deadline_ms = now + s->options->mount_timeout_ms;
        return;
    case ORPHANS:
        if (orphans_signal(s->driver.pid, SIGTERM) == 0) {
            enter(s, FLUSHING);
            return;
        }
        s->deadline_ms = now + SUPERVISE_GRACE_MS;
        return;
    case FLUSHING:
        if (!s->driver.running) {
            enter(s, DONE);
            return;
        }
        driver_signal(&s->driver, SIGTERM);
        s->deadline_ms =
            now + (s->mounted ? s->options->flush_timeout_ms + SUPERVISE_FLUSH_MORE_MS : SUPERVISE_KILL_MS);
        return;
    case KILLING:
        driver_signal(&s->driver, SIGKILL);
        s->deadline_ms = now + SUPERVISE_KILL_MS;
        return;
    case RUNNING:
    case DONE:
        return;
    }
}

static void start_command(struct supervisor *s)
{
    struct err err;
    s->pid = command_start(s->command, &s->signals, &s->terminal, &err);
    if (s->pid < 0) {
        say(SAY_ERROR, "%s", err.msg);
        s->pid = 0;
        s->code = 126;
        enter(s, FLUSHING);
        return;
    }
    enter(s, RUNNING);
    for (int sig = 1; sig <= 64; ++sig)
        if (s->held >> (sig - 1) & 1)
            (void)kill(s->pid, sig);
    const int keep[] = {s->signals.fd, s->terminal.fd};
    descriptors_release(keep, 2);
}

static void on_news(struct supervisor *s)
{
    struct err err;
    switch (driver_news(&s->driver)) {
    case DRIVER_NOT_YET:
        return;
    case DRIVER_FAILED:
        /* It says so, or has said so, by itself: it is left alone for a moment, so that its exit code tells
         * too. */
        s->deadline_ms = clock_mono_ms() + SUPERVISE_KILL_MS;
        return;
    case DRIVER_READY_ELSEWHERE:
        caps_read(&s->caps);
        if (driver_enter(&s->driver, &err) < 0) {
            say(SAY_ERROR, "%s", err.msg);
            enter(s, FLUSHING);
            return;
        }
        s->command->caps = &s->caps;
        break;
    case DRIVER_READY:
        break;
    }
    s->mounted = true;
    say(SAY_DEBUG, "%s is mounted", DRIVER_MOUNT_POINT);
    start_command(s);
}

/* ^Z. Below a shell we stop too, so that it sees its job stopped, and go on with it, in the foreground if
 * that is where it puts us. On top of a session there is nobody who could: there, as for any PID 1, stopping
 * from the terminal does nothing. */
static void on_stop(struct supervisor *s, int sig)
{
    const pid_t group = s->pid;
    const bool leader = terminal_is_leader();
    if (sig == SIGSTOP || s->terminal.fd < 0)
        return;
    if (!leader) {
        terminal_take(&s->terminal, group);
        (void)kill(getpid(), SIGSTOP);
    }
    if (leader || terminal_is_ours(&s->terminal))
        terminal_give(&s->terminal, group);
    (void)kill(-group, SIGCONT);
}

static void on_command_ended(struct supervisor *s, int status)
{
    s->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    terminal_take(&s->terminal, s->pid);
    s->pid = 0;
    enter(s, ORPHANS);
}

static void on_driver_ended(struct supervisor *s, int status)
{
    char how[32];
    driver_ended(&s->driver, status);
    if (s->state == RUNNING)
        say(SAY_ERROR, "the S3 driver ended while the command runs (%s): %s is gone",
            driver_end_text(&s->driver, how), DRIVER_MOUNT_POINT);
    else if (s->state != ORPHANS)
        enter(s, DONE);
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) != 0;) {
        if (pid < 0 && errno != EINTR)
            return;
        if (pid > 0 && pid == s->pid && WIFSTOPPED(status))
            on_stop(s, WSTOPSIG(status));
        else if (pid <= 0 || WIFSTOPPED(status))
            continue;
        else if (pid == s->pid)
            on_command_ended(s, status);
        else if (pid == s->driver.pid && s->driver.running)
            on_driver_ended(s, status);
    }
}

static bool ends_a_process(int sig)
{
    return (sig == SIGTERM || sig == SIGINT || sig == SIGQUIT || sig == SIGHUP) && !signals_ignored(sig);
}

static void on_signal(struct supervisor *s, const struct signalfd_siginfo *signal)
{
    const int sig = (int)signal->ssi_signo;
    if (sig == SIGCHLD) {
        reap(s);
    } else if (s->state == STARTING) {
        if (ends_a_process(sig)) {
            s->told_to_end = sig;
            enter(s, FLUSHING);
        } else {
            s->held |= (uint64_t)1 << (sig - 1);
        }
    } else if (s->pid) {
        /* A job that went on in the background is fetched to the foreground. */
        if (sig == SIGCONT && !terminal_is_leader() && terminal_is_ours(&s->terminal))
            terminal_give(&s->terminal, s->pid);
        signals_forward(signal, s->pid);
    } else if (s->state == ORPHANS && ends_a_process(sig)) {
        s->deadline_ms = clock_mono_ms(); /* told again: the grace is over */
    }
}

static void look_for_orphans(struct supervisor *s)
{
    if (orphans_signal(s->driver.pid, 0) == 0)
        enter(s, FLUSHING);
}

static void on_deadline(struct supervisor *s)
{
    switch (s->state) {
    case STARTING:
        if (s->driver.ready_fd >= 0)
            say(SAY_ERROR, "%s did not answer within RAC_MOUNT_TIMEOUT, %llu ms", DRIVER_MOUNT_POINT,
                (unsigned long long)s->options->mount_timeout_ms);
        enter(s, FLUSHING);
        return;
    case ORPHANS:
        if (s->orphans_killed) {
            enter(s, FLUSHING);
            return;
        }
        (void)orphans_signal(s->driver.pid, SIGKILL);
        s->orphans_killed = true;
        s->deadline_ms = clock_mono_ms() + ORPHANS_KILL_MS;
        return;
    case FLUSHING:
        if (s->mounted)
            say(SAY_ERROR, "the S3 driver did not end within RAC_FLUSH_TIMEOUT, %llu ms: killed",
                (unsigned long long)s->options->flush_timeout_ms);
        enter(s, KILLING);
        return;
    case KILLING:
        enter(s, DONE);
        return;
    case RUNNING:
    case DONE:
        return;
    }
}

static int wait_ms(const struct supervisor *s)
{
    if (!s->deadline_ms)
        return -1;
    uint64_t now = clock_mono_ms(), left = s->deadline_ms > now ? s->deadline_ms - now : 0;
    if (s->state == ORPHANS && left > ORPHANS_LOOK_MS)
        left = ORPHANS_LOOK_MS;
    return (int)left;
}

static void step(struct supervisor *s)
{
    struct pollfd fds[] = {
        {.fd = s->signals.fd, .events = POLLIN},
        {.fd = s->state == STARTING ? s->driver.ready_fd : -1, .events = POLLIN},
    };
    int n = poll(fds, 2, wait_ms(s));
    if (n < 0 && errno != EINTR)
        (void)usleep(10000); /* no memory, for the moment: never a busy loop */
    struct signalfd_siginfo signal;
    while (s->state != DONE && signals_next(&s->signals, &signal))
        on_signal(s, &signal);
    if (s->state == STARTING)
        on_news(s);
    if (s->state == ORPHANS)
        look_for_orphans(s);
    if (s->deadline_ms && clock_mono_ms() >= s->deadline_ms)
        on_deadline(s);
}

static int outcome_without_mount(const struct supervisor *s)
{
    char how[32];
    if (s->told_to_end)
        return 128 + s->told_to_end;
    /* Why, with the flag to add, it has said itself: it knows which call failed. */
    say(SAY_ERROR, "the S3 driver did not mount %s (%s). %s", DRIVER_MOUNT_POINT,
        driver_end_text(&s->driver, how),
        s->options->required ? "RAC_MOUNT=optional would start the command without it"
                             : "The command starts without it");
    return s->options->required ? SUPERVISE_NO_MOUNT : SUPERVISE_GO_ON;
}

static int outcome(const struct supervisor *s)
{
    char how[32];
    if (!s->mounted)
        return outcome_without_mount(s);
    if (driver_all_stored(&s->driver))
        return s->code;
    say(SAY_ERROR, "not everything is stored in S3: the driver ended with %s",
        driver_end_text(&s->driver, how));
    return s->code ? s->code : SUPERVISE_UNSTORED;
}

/* Puts back what we found, for who becomes the command in our place. */
static void step_aside(const struct supervisor *s)
{
    for (int sig = 1; sig <= 64; ++sig)
        if (s->held >> (sig - 1) & 1)
            (void)kill(getpid(), sig);
    signals_restore(&s->signals);
}

int supervise(const struct options *options, struct command *command, struct err *err)
{
    struct supervisor s = {.options = options, .command = command};
    if (signals_take(&s.signals, err) < 0)
        return -1;
    if (getpid() != 1)
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (driver_start(&s.driver, command->user, err) < 0) {
        step_aside(&s);
        return -1;
    }
    terminal_open(&s.terminal);
    enter(&s, STARTING);
    while (s.state != DONE)
        step(&s);
    driver_unmount(&s.driver);
    int code = outcome(&s);
    if (code == SUPERVISE_GO_ON)
        step_aside(&s);
    terminal_close(&s.terminal);
    (void)close(s.signals.fd);
    return code;
}
