// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "common/mem.h"
#include "proxy/app_impl.h"

struct lists {
    struct access_account *accounts;
    struct access_location *locations;
    struct access_config config;
};

/* Everything in it is borrowed from the options, but the two arrays. */
static void fill_lists(struct lists *l, const struct options *o)
{
    l->accounts = mem_zalloc((o->account_count + 1) * sizeof *l->accounts);
    for (size_t i = 0; i < o->account_count; ++i) {
        const struct options_account *a = &o->accounts[i];
        l->accounts[i] = (struct access_account){.name = a->name,
                                                 .password_hash = a->password_hash,
                                                 .keys = (const char *const *)a->keys,
                                                 .certificate = a->certificate,
                                                 .roles = a->roles};
    }
    l->locations = mem_zalloc((o->location_count + 1) * sizeof *l->locations);
    for (size_t i = 0; i < o->location_count; ++i)
        l->locations[i] = (struct access_location){o->locations[i].network, o->locations[i].name};
    l->config = (struct access_config){.accounts = l->accounts,
                                       .account_count = o->account_count,
                                       .anonymous = o->anonymous,
                                       .locations = l->locations,
                                       .location_count = o->location_count,
                                       .trusted_proxies = o->trusted_proxies,
                                       .trusted_proxy_count = o->trusted_proxy_count,
                                       .trust_headers = o->trust_headers};
}

static void free_lists(struct lists *l)
{
    free(l->accounts);
    free(l->locations);
}

struct access *app_access_new(const struct options *o, struct state *state)
{
    struct lists l;
    fill_lists(&l, o);
    struct access *a = access_new(&l.config, state);
    free_lists(&l);
    return a;
}

void app_access_reload(struct access *a, const struct options *o)
{
    struct lists l;
    fill_lists(&l, o);
    access_reload(a, &l.config);
    free_lists(&l);
}
