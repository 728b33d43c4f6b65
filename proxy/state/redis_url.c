// SPDX-License-Identifier: Apache-2.0
#include "proxy/state/redis_url.h"

#include <ctype.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "common/str.h"

#define PORT_REDIS    6379
#define PORT_SENTINEL 26379
#define DB_MAX        65535
#define EXPECTED                                                                                             \
    "expected redis://[user:password@]host[:port][/db], "                                                    \
    "redis+unix://[user:password@]/path/to/socket[?db=N] "                                                   \
    "or redis+sentinel://[user:password@]host[:port],…/name[/db]"

void redis_url_clear(struct redis_url *u)
{
    if (u->password)
        explicit_bzero(u->password, strlen(u->password));
    for (unsigned i = 0; i < u->host_count; ++i)
        free(u->hosts[i].name);
    free(u->hosts);
    free(u->user);
    free(u->password);
    free(u->socket);
    free(u->primary);
    free(u->shown);
    memset(u, 0, sizeof *u);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* malloc'd; NULL on a malformed escape, or one for a NUL. */
static char *unescape(struct slice s)
{
    char *out = mem_alloc(s.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.len; ++i) {
        char c = s.p[i];
        if (c == '%') {
            int high = i + 2 < s.len ? hex(s.p[i + 1]) : -1, low = i + 2 < s.len ? hex(s.p[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                free(out);
                return NULL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[n++] = c;
    }
    out[n] = '\0';
    return out;
}

/* What stands before the last '@', which a password may hold unescaped. */
static int take_login(struct redis_url *u, struct slice *rest, struct err *err)
{
    const char *at = memrchr(rest->p, '@', rest->len);
    if (!at)
        return 0;
    struct slice password = {rest->p, (size_t)(at - rest->p)};
    *rest = (struct slice){at + 1, rest->len - password.len - 1};
    struct slice user = slice_cut(&password, ':');
    if (password.p ? !password.len : !user.len)
        return err_set(err, ERR_INVALID, "nothing stands %s: " EXPECTED,
                       password.p ? "between ':' and '@'" : "before '@'");
    if (user.len && !(u->user = unescape(user)))
        return err_set(err, ERR_INVALID, "the user holds a '%%' that begins no escape: write %%25");
    if (password.p && !(u->password = unescape(password)))
        return err_set(err, ERR_INVALID, "the password holds a '%%' that begins no escape: write %%25");
    return 0;
}

static int take_host(struct redis_url *u, struct slice text, uint16_t port, struct err *err)
{
    struct slice name = text, digits = {0};
    if (text.len && text.p[0] == '[') {
        const char *end = memchr(text.p, ']', text.len);
        if (!end)
            return err_set(err, ERR_INVALID, "'[' without ']'");
        name = (struct slice){text.p + 1, (size_t)(end - text.p) - 1};
        digits = (struct slice){end + 1, text.len - name.len - 2};
        if (digits.len && digits.p[0] != ':')
            return err_set(err, ERR_INVALID, "'%.*s' behind ']': " EXPECTED, (int)digits.len, digits.p);
        if (digits.len)
            digits = (struct slice){digits.p + 1, digits.len - 1};
        else
            digits.p = NULL;
    } else {
        name = slice_cut(&text, ':');
        digits = text;
    }
    uint64_t number = port;
    if (digits.p && (!slice_to_u64(digits, 65535, &number) || number == 0))
        return err_set(err, ERR_INVALID, "'%.*s' is no port", (int)digits.len, digits.p);
    bool good = name.len > 0 && name.len < 256;
    for (size_t i = 0; i < name.len; ++i)
        good = good && (isalnum((unsigned char)name.p[i]) || strchr(".:-_%", name.p[i]));
    if (!good)
        return err_set(err, ERR_INVALID, "'%.*s' is no host: " EXPECTED, (int)(name.len & 0xff), name.p);
    if (u->host_count == REDIS_URL_HOSTS_MAX)
        return err_set(err, ERR_INVALID, "more than %d hosts", REDIS_URL_HOSTS_MAX);
    u->hosts = mem_realloc(u->hosts, (u->host_count + 1) * sizeof *u->hosts);
    u->hosts[u->host_count++] = (struct redis_host){mem_strndup(name.p, name.len), (uint16_t)number};
    return 0;
}

static int take_db(struct redis_url *u, struct slice text, struct err *err)
{
    uint64_t db = 0;
    if (text.p && text.len && !slice_to_u64(text, DB_MAX, &db))
        return err_set(err, ERR_INVALID, "'%.*s' is no number of a database", (int)text.len, text.p);
    u->db = (unsigned)db;
    return 0;
}

static int take_socket(struct redis_url *u, struct slice rest, struct err *err)
{
    struct slice path = slice_cut(&rest, '?');
    if (!path.len || path.p[0] != '/')
        return err_set(err, ERR_INVALID, "the socket's path is not absolute: " EXPECTED);
    if (rest.p && !slice_starts_with(rest, "db="))
        return err_set(err, ERR_INVALID, "'?%.*s': " EXPECTED, (int)rest.len, rest.p);
    if (rest.p)
        rest = (struct slice){rest.p + 3, rest.len - 3};
    u->socket = unescape(path);
    if (!u->socket)
        return err_set(err, ERR_INVALID, "the socket's path holds a '%%' that begins no escape");
    if (strlen(u->socket) > 107) /* sun_path */
        return err_set(err, ERR_INVALID, "the socket's path is longer than 107 bytes");
    return take_db(u, rest, err);
}

static int take_hosts(struct redis_url *u, struct slice rest, bool sentinel, struct err *err)
{
    struct slice hosts = slice_cut(&rest, '/');
    do {
        struct slice host = sentinel ? slice_cut(&hosts, ',') : hosts;
        if (take_host(u, host, sentinel ? PORT_SENTINEL : PORT_REDIS, err) < 0)
            return -1;
    } while (sentinel && hosts.p);
    if (sentinel) {
        struct slice name = slice_cut(&rest, '/');
        if (!name.len)
            return err_set(err, ERR_INVALID, "the name of the primary is missing: " EXPECTED);
        u->primary = mem_strndup(name.p, name.len);
    }
    return take_db(u, rest, err);
}

static int parse(const char *text, struct redis_url *u, struct err *err)
{
    static const char *const schemes[] = {"redis://", "redis+unix://", "redis+sentinel://"};
    unsigned kind = 0;
    while (kind < 3 && strncmp(text, schemes[kind], strlen(schemes[kind])) != 0)
        ++kind;
    if (kind == 3 && strncmp(text, "rediss", 6) == 0)
        return err_set(err, ERR_INVALID, "TLS to Redis is not there: put a tunnel in front, or " EXPECTED);
    if (kind == 3)
        return err_set(err, ERR_INVALID, EXPECTED);
    struct slice rest = slice_of(text + strlen(schemes[kind]));
    if (take_login(u, &rest, err) < 0)
        return -1;
    u->shown = mem_printf("%s%.*s", schemes[kind], (int)rest.len, rest.p);
    return kind == 1 ? take_socket(u, rest, err) : take_hosts(u, rest, kind == 2, err);
}

int redis_url_parse(const char *text, struct redis_url *ret, struct err *err)
{
    struct redis_url u = {0};
    if (parse(text, &u, err) < 0) {
        redis_url_clear(&u);
        return -1;
    }
    *ret = u;
    return 0;
}
