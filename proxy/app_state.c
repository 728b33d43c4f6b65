// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fs.h"
#include "common/mem.h"
#include "proxy/app_impl.h"
#include "proxy/state/redis.h"
#include "proxy/state/sqlite.h"

/* The embedded state locks its folder itself; blobs and records in it want the same of any other. */
static int lock_data(struct app *app, struct err *err)
{
    const char *dir = app->options->data_dir;
    cleanup_free char *lock = mem_printf("%s/rac-proxy.lock", dir);
    return fs_mkdirs(dir, 0750, err) < 0 ? -1 : fs_lock(lock, dir, &app->data_lock, err);
}

int app_state_open(struct app *app, struct err *err)
{
    const struct options *o = app->options;
    app->data_lock = -1;
    if (!o->state_url)
        return sqlite_state_open(o->data_dir, &app->state, err);
    struct redis_options redis = {.url = o->state_url, .password = o->state_password};
    if (lock_data(app, err) < 0)
        return -1;
    if (redis_state_open(&redis, &app->state, err) < 0) {
        (void)close(app->data_lock);
        return -1;
    }
    return 0;
}

void app_peers_new(struct app *app)
{
    const struct options *o = app->options;
    const char *address = o->peer_address;
    if (!app->state->shared)
        return;
    const char *host = address ? strstr(address, "://") + 3 : "";
    const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
    cleanup_free char *with_port = NULL;
    if (address && (!colon || (bracket && colon < bracket))) {
        const char *own = http_server_address(app->server, 0);
        address = with_port = mem_printf("%s%s", address, strrchr(own, ':'));
    }
    app->env.peers = peers_new(address, o->peer_ca, app->state->scope_key);
}

void app_state_close(struct app *app)
{
    if (!app->state)
        return;
    app->state->ops->close(app->state);
    if (app->data_lock >= 0)
        (void)close(app->data_lock);
}
