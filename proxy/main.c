// SPDX-License-Identifier: Apache-2.0
/* rac-proxy: reads the options and hands over. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/app.h"
#include "proxy/app_impl.h"
#include "proxy/app_secrets.h"
#include "proxy/cache/disk.h"
#include "proxy/state/sqlite.h"

static int complain(const struct err *err, int code)
{
    (void)fprintf(stderr, "rac-proxy: %s\n", err->msg);
    return code;
}

static void show_scrub(const struct disk_scrub *s, void *arg)
{
    char size[32];
    (void)arg;
    if (isatty(2))
        (void)fprintf(stderr, "\r%llu blobs, %s, %llu damaged ", (unsigned long long)s->blobs,
                      str_format_size(s->bytes, size, sizeof size), (unsigned long long)s->damaged);
}

static int scrub(const struct options *o)
{
    struct disk_scrub s;
    struct err err;
    char size[32];
    if (disk_store_scrub(o->data_dir, show_scrub, NULL, &s, &err) < 0)
        return complain(&err, 1);
    if (isatty(2))
        (void)fputc('\n', stderr);
    (void)printf("%llu blobs, %s checked, %llu damaged%s\n", (unsigned long long)s.blobs,
                 str_format_size(s.bytes, size, sizeof size), (unsigned long long)s.damaged,
                 s.damaged ? " and moved to quarantine: they will be fetched again" : "");
    return s.damaged ? 1 : 0;
}

static int backup(const struct options *o)
{
    struct err err;
    (void)umask(027); /* the state knows who may read what */
    if (o->state_url) {
        (void)err_set(&err, ERR_UNSUPPORTED,
                      "the state is in Redis: that is what wants a copy (docs/redis.md)");
        return complain(&err, 1);
    }
    if (sqlite_state_backup(o->data_dir, o->action_file, &err) < 0)
        return complain(&err, 1);
    (void)printf("%s: the state of %s\n", o->action_file, o->data_dir);
    return 0;
}

/* What only shows when the injections are loaded: digests that are wrong. */
static int check(const struct options *o)
{
    static const uint8_t no_key[32];
    struct registry_config *config;
    struct err err;
    if (app_config_new(o, no_key, &config, &err) < 0)
        return complain(&err, 2);
    registry_config_unref(config);
    options_print_check(o, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct options *o;
    struct err err;
    int code = 0;
    if (options_read(argc, argv, environ, &o, &err) < 0)
        return complain(&err, 2);
    if (o->action == OPTIONS_SERVE)
        return app_run(o, argc, argv, environ);
    if (o->action == OPTIONS_CHECK)
        code = check(o);
    else if (o->action == OPTIONS_SCRUB)
        code = scrub(o);
    else if (o->action == OPTIONS_GC)
        code = app_gc_s3(o, &err) < 0 ? complain(&err, 1) : 0;
    else if (o->action == OPTIONS_BACKUP)
        code = backup(o);
    else if (o->action == OPTIONS_EXPORT)
        code = app_export_pulls(o, &err) < 0 ? complain(&err, 1) : 0;
    else if (o->action == OPTIONS_HASH)
        code = app_hash_password(&err) < 0 ? complain(&err, 1) : 0;
    else if (o->action == OPTIONS_KEY)
        code = app_make_key(&err) < 0 ? complain(&err, 1) : 0;
    else if (o->action == OPTIONS_CERTIFICATE)
        code = app_make_certificate(o->action_file, o->action_names, &err) < 0 ? complain(&err, 1) : 0;
    else
        (void)options_print_action(o, stdout, isatty(1));
    options_free(o);
    return code;
}
