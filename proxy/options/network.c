// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/network.h"

#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/options/upstream.h"

#define NETWORKS_MAX 4096
#define LOCATION_MAX 128

static int check_location(struct slice name, const char *where, struct err *err)
{
    bool printable = name.len > 0 && name.len <= LOCATION_MAX;
    for (size_t i = 0; i < name.len; ++i)
        printable = printable && (unsigned char)name.p[i] >= 0x20 && name.p[i] != 0x7f;
    return printable
               ? 0
               : err_set(err, ERR_INVALID, "%s: a location has 1 to %d characters", where, LOCATION_MAX);
}

static int add_location(struct options *o, struct slice network, struct slice name,
                        const struct option_origin *origin, const char *where, struct err *err)
{
    cleanup_free char *text = mem_strndup(network.p, network.len);
    struct options_location l = {.origin = *origin};
    if (net_parse_range(text, &l.network, err) < 0)
        return err_wrap(err, "%s", where);
    for (size_t i = 0; i < o->location_count; ++i) {
        const struct options_location *other = &o->locations[i];
        if (memcmp(&other->network, &l.network, sizeof l.network) == 0)
            return err_set(err, ERR_INVALID, "%s: '%s' is there twice", where, text);
    }
    if (o->location_count >= NETWORKS_MAX)
        return err_set(err, ERR_INVALID, "%s: more than %d networks", where, NETWORKS_MAX);
    l.name = mem_strndup(name.p, name.len);
    o->locations = mem_realloc(o->locations, (o->location_count + 1) * sizeof l);
    o->locations[o->location_count++] = l;
    return 0;
}

/* The highest source that gives any wins whole, as with `listen`. */
static void forget_locations(struct options *o, const struct option_origin *origin)
{
    struct option_origin *last = &o->origins[option_index(option_by_name("locations"))];
    if (last->source == origin->source)
        return;
    for (size_t i = 0; i < o->location_count; ++i)
        free(o->locations[i].name);
    o->location_count = 0;
    *last = *origin;
}

int option_read_location(struct options *o, const struct yaml_node *entry, struct option_origin origin,
                         struct err *err)
{
    char where[OPTION_WHERE_MAX];
    const struct option_def *def = option_by_name("locations");
    const struct yaml_node *networks = NULL, *name = NULL;
    (void)option_where(o, &origin, def, NULL, where);
    if (entry->kind != YAML_MAP)
        return err_set(err, ERR_INVALID, "%s: a location is {network: 10.1.0.0/16, name: NAME}, found %s",
                       where, yaml_tree_kind(entry));
    for (const struct yaml_node *child = entry->children; child; child = child->next) {
        if (option_check_member(o, def, option_location_members, child, err) < 0)
            return -1;
        *(strcmp(child->key, "name") == 0 ? &name : &networks) = child;
    }
    if (!name || !networks)
        return err_set(err, ERR_INVALID, "%s: the location has no '%s'", where, name ? "network" : "name");
    if (check_location(slice_of(name->text), where, err) < 0)
        return -1;
    forget_locations(o, &origin);
    if (networks->kind == YAML_SCALAR)
        return add_location(o, slice_of(networks->text), slice_of(name->text), &origin, where, err);
    for (const struct yaml_node *item = networks->children; item; item = item->next) {
        if (item->kind != YAML_SCALAR)
            return err_set(err, ERR_INVALID, "%s: expected a network, found %s", where, yaml_tree_kind(item));
        if (add_location(o, slice_of(item->text), slice_of(name->text), &origin, where, err) < 0)
            return -1;
    }
    return 0;
}

int option_add_location_word(struct options *o, struct slice word, const struct option_origin *origin,
                             const char *where, struct err *err)
{
    struct slice name = word;
    struct slice network = slice_cut(&name, '=');
    if (!name.p)
        return err_set(err, ERR_INVALID, "%s: expected NETWORK=NAME, as in 10.1.0.0/16=hospital-a", where);
    if (check_location(name, where, err) < 0)
        return -1;
    forget_locations(o, origin);
    return add_location(o, network, name, origin, where, err);
}

int option_add_proxy(struct options *o, struct slice word, const struct option_origin *origin,
                     const char *where, struct err *err)
{
    struct option_origin *last = &o->origins[option_index(option_by_name("trusted-proxies"))];
    cleanup_free char *text = mem_strndup(word.p, word.len);
    struct net_range range;
    if (net_parse_range(text, &range, err) < 0)
        return err_wrap(err, "%s", where);
    if (last->source != origin->source) {
        o->trusted_proxy_count = 0;
        *last = *origin;
    }
    if (o->trusted_proxy_count >= NETWORKS_MAX)
        return err_set(err, ERR_INVALID, "%s: more than %d networks", where, NETWORKS_MAX);
    o->trusted_proxies = mem_realloc(o->trusted_proxies, (o->trusted_proxy_count + 1) * sizeof range);
    o->trusted_proxies[o->trusted_proxy_count++] = range;
    return 0;
}

bool option_is_loopback_only(const struct options *o)
{
    for (size_t i = 0; i < o->listen_count; ++i) {
        struct net_address ip;
        struct slice text = slice_of(o->listen[i]);
        if (!slice_starts_with(text, "localhost:") && !(net_parse_address(text, &ip) && net_is_loopback(&ip)))
            return false;
    }
    return true;
}
