// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/mux.h"

#include <assert.h>
#include <curl/curl.h>
#include <utlist.h>

#include "common/mem.h"

struct lane {
    struct mux *mux;
    CURLM *multi;
    struct loop_timer timer;
};

struct mux {
    struct loop *loop;
    const struct upstream_limits *limits;
    const struct env_proxy *proxies;
    struct lane lanes[MUX_LANES];
    uint64_t turn;
    bool inside; /* of a curl call that may call back */
    /* Every transfer is on one of the first three. */
    struct transfer *queued, *running, *buried;
    struct transfer *waking;
    struct loop_timer wake_timer;
    CURL *idle[MUX_IDLE_MAX];
    size_t idle_len;
};

static void settle(struct mux *mux);

struct loop *mux_loop(const struct mux *mux)
{
    return mux->loop;
}

const struct upstream_limits *mux_limits(const struct mux *mux)
{
    return mux->limits;
}

const struct env_proxy *mux_proxies(const struct mux *mux)
{
    return mux->proxies;
}

uint64_t mux_turn(const struct mux *mux)
{
    return mux->turn;
}

/* ---- sockets and timers ---- */

static void act(struct lane *lane, curl_socket_t fd, int mask)
{
    struct mux *mux = lane->mux;
    int running = 0;
    assert(!mux->inside);
    ++mux->turn;
    mux->inside = true;
    CURLMcode rc = curl_multi_socket_action(lane->multi, fd, mask, &running);
    mux->inside = false;
    assert(rc == CURLM_OK);
    settle(mux);
}

static void on_ready(void *arg, int fd, unsigned ready)
{
    int mask = (ready & LOOP_READ ? CURL_CSELECT_IN : 0) | (ready & LOOP_WRITE ? CURL_CSELECT_OUT : 0) |
               (ready & LOOP_ERROR ? CURL_CSELECT_ERR : 0);
    act(arg, fd, mask);
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int curl_socket_changed(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy;
    struct lane *lane = arg;
    struct loop_watch *watch = known;
    if (what == CURL_POLL_REMOVE) {
        if (watch)
            loop_watch_remove(lane->mux->loop, watch);
        (void)curl_multi_assign(lane->multi, fd, NULL);
        return 0;
    }
    unsigned events =
        (what & CURL_POLL_IN ? (unsigned)LOOP_READ : 0) | (what & CURL_POLL_OUT ? (unsigned)LOOP_WRITE : 0);
    if (watch) {
        loop_watch_change(lane->mux->loop, watch, events);
    } else {
        watch = loop_watch_add(lane->mux->loop, fd, events, on_ready, lane);
        (void)curl_multi_assign(lane->multi, fd, watch);
    }
    return 0;
}

static int curl_timer_changed(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    struct lane *lane = arg;
    if (ms < 0)
        loop_timer_cancel(lane->mux->loop, &lane->timer);
    else
        loop_timer_arm(lane->mux->loop, &lane->timer, (uint64_t)ms, on_timer, lane);
    return 0;
}

/* ---- what was put off while curl was busy ---- */

static void add_now(struct mux *mux, struct transfer *t)
{
    DL_APPEND(mux->running, t);
    t->added = true;
    CURLMcode rc = curl_multi_add_handle(mux->lanes[t->lane].multi, t->easy);
    assert(rc == CURLM_OK);
}

static void take_off_wake_list(struct mux *mux, struct transfer *t)
{
    if (t->waking)
        DL_DELETE2(mux->waking, t, wake_prev, wake_next);
    t->waking = false;
}

void mux_remove(struct mux *mux, struct transfer *t)
{
    assert(!mux->inside);
    take_off_wake_list(mux, t);
    if (!t->ops) {
        DL_DELETE(mux->buried, t);
    } else if (t->added) {
        DL_DELETE(mux->running, t);
    } else {
        DL_DELETE(mux->queued, t);
    }
    if (t->added)
        (void)curl_multi_remove_handle(mux->lanes[t->lane].multi, t->easy);
    t->added = false;
}

/* Lets go of the bytes that curl held back; they come through on_data right here. */
static void wake_now(struct mux *mux, struct transfer *t)
{
    if (t->paused || !t->held)
        return;
    t->held = false;
    ++mux->turn;
    mux->inside = true;
    CURLcode rc = curl_easy_pause(t->easy, CURLPAUSE_CONT);
    mux->inside = false;
    /* A callback that refused the bytes makes curl say so here, and not end the transfer. */
    if (rc != CURLE_OK && t->ops)
        transfer_finish(t, (int)rc);
}

static void flush(struct mux *mux)
{
    while (mux->buried || mux->queued || mux->waking) {
        struct transfer *t = mux->buried;
        if (t) {
            mux_remove(mux, t);
            transfer_free(t);
            continue;
        }
        t = mux->queued;
        if (t) {
            DL_DELETE(mux->queued, t);
            add_now(mux, t);
            continue;
        }
        t = mux->waking;
        take_off_wake_list(mux, t);
        wake_now(mux, t);
    }
}

/* Hands out what ended, and does what was put off, until there is neither. */
static void settle(struct mux *mux)
{
    bool again = true;
    while (again) {
        again = false;
        flush(mux);
        for (unsigned i = 0; i < MUX_LANES; ++i) {
            int left = 0;
            const CURLMsg *msg = curl_multi_info_read(mux->lanes[i].multi, &left);
            if (!msg || msg->msg != CURLMSG_DONE)
                continue;
            struct transfer *t = NULL;
            CURLcode rc = msg->data.result; /* msg is gone once the handle is removed */
            (void)curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
            if (t->ops)
                transfer_finish(t, (int)rc);
            again = true;
        }
    }
}

static void on_wake_timer(void *arg)
{
    settle(arg);
}

void mux_add(struct mux *mux, struct transfer *t)
{
    if (mux->inside)
        DL_APPEND(mux->queued, t);
    else
        add_now(mux, t);
}

void mux_bury(struct mux *mux, struct transfer *t)
{
    if (!mux->inside) {
        mux_remove(mux, t);
        transfer_free(t);
        return;
    }
    take_off_wake_list(mux, t);
    if (t->added)
        DL_DELETE(mux->running, t);
    else
        DL_DELETE(mux->queued, t);
    t->ops = NULL;
    DL_APPEND(mux->buried, t);
}

void mux_wake(struct mux *mux, struct transfer *t)
{
    if (t->waking || !t->held)
        return;
    t->waking = true;
    DL_APPEND2(mux->waking, t, wake_prev, wake_next);
    /* The bytes that curl holds come out of curl_easy_pause itself: not under the feet of whoever resumes. */
    if (!mux->inside && !loop_timer_armed(&mux->wake_timer))
        loop_timer_arm(mux->loop, &mux->wake_timer, 0, on_wake_timer, mux);
}

/* ---- handles ---- */

void *mux_take_easy(struct mux *mux)
{
    return mux->idle_len ? mux->idle[--mux->idle_len] : transfer_easy_new(mux->limits);
}

void mux_give_easy(struct mux *mux, void *easy)
{
    if (mux->idle_len < MUX_IDLE_MAX)
        mux->idle[mux->idle_len++] = easy;
    else
        curl_easy_cleanup(easy);
}

static void lane_init(struct lane *lane, struct mux *mux)
{
    lane->mux = mux;
    lane->multi = curl_multi_init();
    assert(lane->multi);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, curl_socket_changed);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, curl_timer_changed);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)mux->limits->max_connections);
    (void)curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, (long)mux->limits->max_connections * 4);
}

struct mux *mux_new(struct loop *loop, const struct upstream_limits *limits, const struct env_proxy *proxies)
{
    struct mux *mux = mem_new(struct mux);
    mux->loop = loop;
    mux->limits = limits;
    mux->proxies = proxies;
    for (unsigned i = 0; i < MUX_LANES; ++i)
        lane_init(&mux->lanes[i], mux);
    return mux;
}

void mux_free(struct mux *mux)
{
    if (!mux)
        return;
    assert(!mux->inside && !mux->queued && !mux->running);
    flush(mux);
    while (mux->idle_len)
        curl_easy_cleanup(mux->idle[--mux->idle_len]);
    for (unsigned i = 0; i < MUX_LANES; ++i) {
        (void)curl_multi_cleanup(mux->lanes[i].multi);
        loop_timer_cancel(mux->loop, &mux->lanes[i].timer);
    }
    loop_timer_cancel(mux->loop, &mux->wake_timer);
    free(mux);
}
