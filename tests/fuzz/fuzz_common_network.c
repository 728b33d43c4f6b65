// SPDX-License-Identifier: Apache-2.0
/* Small texts of any bytes: addresses, networks, times, durations, sizes, numbers. Refused, or what they mean
 * is written as a text that means the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "common/network.h"
#include "common/timestamp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_address(struct slice text)
{
    struct net_address a, again;
    char out[NET_TEXT_MAX];
    if (!net_parse_address(text, &a))
        return;
    assert(net_parse_address(slice_of(net_format(&a, out)), &again) && memcmp(&a, &again, sizeof a) == 0);
    struct net_range all = {.bits = 0}, itself = {.base = a, .bits = 128};
    assert(net_range_has(&all, &a) && net_range_has(&itself, &a));
    assert(!net_is_loopback(&a) || (net_is_ipv4(&a) ? a.b[12] == 127 : a.b[15] == 1));
}

static void use_range(const char *text)
{
    struct net_range r;
    struct err err = {0};
    if (net_parse_range(text, &r, &err) < 0) {
        assert(err.code == ERR_INVALID && err.msg[0]);
        return;
    }
    assert(r.bits <= 128 && net_range_has(&r, &r.base));
    struct net_address last = r.base;
    for (unsigned bit = r.bits; bit < 128; ++bit) {
        assert(!(r.base.b[bit / 8] & (0x80 >> bit % 8)));
        last.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    }
    assert(net_range_has(&r, &last));
    if (r.bits > 0) {
        last.b[(r.bits - 1) / 8] ^= (uint8_t)(0x80 >> (r.bits - 1) % 8);
        assert(!net_range_has(&r, &last));
    }
}

static void use_json(const char *text, size_t len)
{
    size_t written, again_written;
    cleanup_json json_t *json = json_parse(text, len, JSON_DOCUMENT_MAX, NULL);
    if (!json)
        return;
    cleanup_free char *out = json_format(json, &written);
    cleanup_json json_t *again = json_parse(out, written, written, NULL);
    assert(again && json_equal(json, again));
    cleanup_free char *same = json_format(again, &again_written);
    assert(written == again_written && memcmp(out, same, written) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *copy = mem_dup(data, size); /* with a NUL behind it */
    struct slice text = {copy, size};
    uint64_t n = 0;
    bool percent = false;
    int64_t ms;
    char out[TIMESTAMP_MAX];
    use_address(text);
    use_range(copy);
    use_json(copy, size);
    if (timestamp_parse(text, &ms)) {
        int64_t again;
        assert(timestamp_parse(slice_of(timestamp_format(ms, out)), &again) && again == ms);
    }
    if (slice_to_u64(text, 1000000, &n))
        assert(n <= 1000000);
    if (str_parse_size(copy, &n, &percent))
        assert(!percent || n <= 100);
    (void)str_parse_duration(copy, &n);
    static const char *const words[] = {"cache.size", "cache.memory", "upstreams", "listen"};
    struct nearest near = nearest_to(copy);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i)
        nearest_offer(&near, words[i]);
    return 0;
}
