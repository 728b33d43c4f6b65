// SPDX-License-Identifier: Apache-2.0
/* The layer verifier and the tar scan: what passes, what is found, and that a bomb stays small. */
#include "layers_doc.h"

#include <zlib.h>

#include "layers/tar_scan.h"
#include "layers/tar_write.h"
#include "layers/verify.h"

static struct buf gzip(const void *p, size_t len)
{
    struct buf b = {0};
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)p;
    z.avail_in = (uInt)len;
    unsigned char out[4096];
    int rc;
    do {
        z.next_out = out;
        z.avail_out = sizeof out;
        rc = deflate(&z, Z_FINISH);
        (void)buf_add(&b, out, sizeof out - z.avail_out);
    } while (rc == Z_OK);
    assert_int_equal(deflateEnd(&z), Z_OK);
    return b;
}

/* A tar of a file "f" of `size` bytes of 'x'. */
static struct buf small_tar(size_t size)
{
    struct buf b = {0};
    struct tar_entry e = {.type = TAR_FILE, .path = "f", .mode = 0644, .size = size};
    assert_int_equal(tar_write_header(&b, &e, NULL), 0);
    for (size_t i = 0; i < size; ++i)
        (void)buf_add(&b, "x", 1);
    for (size_t i = tar_write_padding(size); i--;)
        (void)buf_add(&b, "", 1);
    tar_write_end(&b);
    return b;
}

static struct injection_layer layer_of(const struct buf *gz, const struct buf *tar)
{
    return (struct injection_layer){
        .location = "f",
        .gzip_digest = digest_of(gz->p, gz->len),
        .tar_digest = digest_of(tar->p, tar->len),
        .gzip_size = gz->len,
    };
}

/* Feeds in pieces. Returns 0, or -1 with *err. */
static int verify(const struct injection_layer *layer, const struct buf *gz, size_t piece, uint64_t max,
                  struct err *err)
{
    cleanup_layer_verifier struct layer_verifier *v = layer_verifier_new(layer, max);
    for (size_t i = 0; i < gz->len; i += piece)
        if (layer_verifier_update(v, gz->p + i, gz->len - i < piece ? gz->len - i : piece, err) < 0)
            return -1;
    return layer_verifier_finish(v, err);
}

static void a_good_layer_passes_in_any_pieces(void **state)
{
    (void)state;
    cleanup_buf struct buf tar = small_tar(100000), gz = gzip(tar.p, tar.len);
    struct injection_layer layer = layer_of(&gz, &tar);
    static const size_t pieces[] = {1, 7, 511, 512, 513, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; ++i) {
        struct err err = {0};
        if (verify(&layer, &gz, pieces[i], tar.len, &err) < 0)
            fail_msg("pieces of %zu: %s", pieces[i], err.msg);
    }
}

static void what_was_expected_and_found(void **state)
{
    (void)state;
    cleanup_buf struct buf tar = small_tar(10), gz = gzip(tar.p, tar.len);
    struct injection_layer good = layer_of(&gz, &tar), layer = good;
    struct err err = {0};
    layer.tar_digest = digest_lit(DIGEST_A);
    assert_int_equal(verify(&layer, &gz, 100, 1 << 20, &err), -1);
    assert_int_equal(err.code, ERR_DIGEST_INVALID);
    cleanup_free char *tar_says = mem_printf("tarDigest " DIGEST_A " expected, found %s", good.tar_digest.s);
    assert_non_null(strstr(err.msg, tar_says));

    layer = good;
    layer.gzip_digest = digest_lit(DIGEST_A);
    assert_int_equal(verify(&layer, &gz, 100, 1 << 20, &err), -1);
    assert_int_equal(err.code, ERR_DIGEST_INVALID);
    cleanup_free char *gzip_says =
        mem_printf("gzipDigest " DIGEST_A " expected, found %s", good.gzip_digest.s);
    assert_non_null(strstr(err.msg, gzip_says));

    layer = good;
    layer.gzip_size += 1;
    assert_int_equal(verify(&layer, &gz, 100, 1 << 20, &err), -1);
    assert_int_equal(err.code, ERR_DIGEST_INVALID);
    cleanup_free char *size_says = mem_printf("gzipSize %zu expected, found %zu", gz.len + 1, gz.len);
    assert_non_null(strstr(err.msg, size_says));

    layer.gzip_size = gz.len - 1;
    assert_int_equal(verify(&layer, &gz, 100, 1 << 20, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_non_null(strstr(err.msg, "gzipSize"));
}

static void sha512_is_checked_as_sha512(void **state)
{
    (void)state;
    cleanup_buf struct buf tar = small_tar(10), gz = gzip(tar.p, tar.len);
    struct injection_layer layer = layer_of(&gz, &tar);
    cleanup_hasher struct hasher *h = hasher_new(SLICE_LIT("sha512"));
    hasher_update(h, tar.p, tar.len);
    layer.tar_digest = hasher_digest(h);
    assert_int_equal(verify(&layer, &gz, 100, 1 << 20, NULL), 0);
    layer.tar_digest = digest_lit("sha512:" HEX_A HEX_B);
    assert_int_equal(verify(&layer, &gz, 100, 1 << 20, NULL), -1);
}

static void gzip_faults(void **state)
{
    (void)state;
    cleanup_buf struct buf tar = small_tar(5000), gz = gzip(tar.p, tar.len);
    struct err err = {0};
    for (int fault = 0; fault < 5; ++fault) {
        cleanup_buf struct buf bad = {0};
        (void)buf_add(&bad, gz.p, gz.len);
        if (fault == 0)
            bad.len -= 9; /* cut in the data */
        else if (fault == 1)
            bad.len -= 1; /* in the trailer */
        else if (fault == 2)
            bad.p[bad.len - 5] ^= 1; /* checksum */
        else if (fault == 3)
            (void)buf_add(&bad, "junk", 4); /* behind it */
        else
            memcpy(bad.p, "PK", 2);
        struct injection_layer layer = layer_of(&bad, &tar);
        if (verify(&layer, &bad, 100, 1 << 20, &err) == 0)
            fail_msg("fault %d passed", fault);
        assert_int_equal(err.code, ERR_INVALID);
        assert_non_null(strstr(err.msg, "gzip"));
    }
    /* A second member is gzip too (RFC 1952). */
    cleanup_buf struct buf two = gzip(tar.p, 600), rest = gzip(tar.p + 600, tar.len - 600);
    (void)buf_add(&two, rest.p, rest.len);
    struct injection_layer layer = layer_of(&two, &tar);
    for (size_t piece = 1; piece < 200; piece += 13)
        if (verify(&layer, &two, piece, 1 << 20, &err) < 0)
            fail_msg("pieces of %zu: %s", piece, err.msg);
}

static void tar_faults(void **state)
{
    (void)state;
    static const struct {
        const char *what, *says;
    } cases[] = {
        {"no end", "two zero blocks"}, {"one end block", "two zero blocks"},
        {"cut header", "cut short"},   {"cut content", "cut short"},
        {"checksum", "checksum"},      {"size", "size"},
        {"junk", "behind the end"},    {"hole", "lone zero block"},
        {"empty", "two zero blocks"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_buf struct buf tar = small_tar(10);
        const char *what = cases[i].what;
        if (strcmp(what, "no end") == 0)
            tar.len -= 1024;
        else if (strcmp(what, "one end block") == 0)
            tar.len -= 512;
        else if (strcmp(what, "cut header") == 0)
            tar.len = 100;
        else if (strcmp(what, "cut content") == 0)
            tar.len = 600;
        else if (strcmp(what, "checksum") == 0)
            tar.p[0] ^= 1;
        else if (strcmp(what, "size") == 0) {
            tar.p[124] = 'z'; /* and a checksum that fits */
            (void)snprintf(tar.p + 148, 7, "%06o", 0);
            unsigned sum = 8 * ' ';
            for (int k = 0; k < 512; ++k)
                sum += k >= 148 && k < 156 ? 0 : (unsigned char)tar.p[k];
            (void)snprintf(tar.p + 148, 7, "%06o", sum);
        } else if (strcmp(what, "junk") == 0)
            (void)buf_add(&tar, "x", 1);
        else if (strcmp(what, "hole") == 0) {
            cleanup_buf struct buf more = small_tar(10);
            tar.len -= 512;
            (void)buf_add(&tar, more.p, more.len);
        } else
            tar.len = 0;
        cleanup_buf struct buf gz = gzip(tar.p, tar.len);
        struct injection_layer layer = layer_of(&gz, &tar);
        struct err err = {0};
        if (verify(&layer, &gz, 100, 1 << 20, &err) == 0)
            fail_msg("%s passed", what);
        if (err.code != ERR_INVALID || !strstr(err.msg, cases[i].says))
            fail_msg("%s: %s", what, err.msg);
    }
}

/* 64 MiB of zeros in 64 KiB: found at the limit, by a verifier whose memory does not grow. */
static void a_bomb_stops_at_its_limit(void **state)
{
    (void)state;
    const size_t size = 64 << 20;
    cleanup_free char *zeros = mem_zalloc(size);
    cleanup_buf struct buf gz = gzip(zeros, size);
    struct injection_layer layer = {.location = "f",
                                    .gzip_digest = digest_of(gz.p, gz.len),
                                    .tar_digest = digest_of(zeros, size),
                                    .gzip_size = gz.len};
    struct err err = {0};
    cleanup_layer_verifier struct layer_verifier *v = layer_verifier_new(&layer, 1 << 20);
    assert_int_equal(layer_verifier_update(v, gz.p, gz.len, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_non_null(strstr(err.msg, "1048576"));
    assert_in_range(layer_verifier_tar_bytes(v), 1 << 20, (1 << 20) + 65536);
    /* An empty tar, however much of it: sound. */
    assert_int_equal(verify(&layer, &gz, 1000, size, &err), 0);
}

static int scan(const struct buf *tar, struct err *err)
{
    struct tar_scan ts;
    tar_scan_init(&ts);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < tar->len; i += 100)
        rc = tar_scan_update(&ts, tar->p + i, tar->len - i < 100 ? tar->len - i : 100, err);
    if (rc == 0)
        rc = tar_scan_finish(&ts, err);
    tar_scan_free(&ts);
    return rc;
}

static void headers_beyond_ustar(void **state)
{
    (void)state;
    char path[300], target[300];
    memset(path, 'p', 299);
    memset(target, 't', 299);
    path[299] = target[299] = '\0';
    struct tar_xattr xattrs[] = {{(char *)"security.capability", (char *)"\x01\0\n=", 4},
                                 {(char *)"user.x", (char *)"", 0}};
    struct tar_entry entries[] = {
        {.type = TAR_FOLDER, .path = path, .mode = 0755},
        {.type = TAR_SYMLINK, .path = "s", .link = target, .mode = 0777},
        {.type = TAR_FILE,
         .path = "f",
         .mode = 07777,
         .uid = 3000000000,
         .gid = 4000000000,
         .mtime = -5,
         .xattrs = xattrs,
         .xattr_count = 2},
        {.type = TAR_CHAR, .path = "c", .major = 4095, .minor = 255},
        {.type = TAR_HARDLINK, .path = "h", .link = "f"},
        {.type = TAR_FIFO, .path = "q", .mtime = INT64_MAX},
    };
    cleanup_buf struct buf tar = {0};
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; ++i)
        assert_int_equal(tar_write_header(&tar, &entries[i], NULL), 0);
    tar_write_end(&tar);
    assert_int_equal(tar.len % 512, 0);
    struct err err = {0};
    if (scan(&tar, &err) < 0)
        fail_msg("%s", err.msg);
    cleanup_free char *record = mem_printf("310 path=%s/\n", path);
    assert_non_null(memmem(tar.p, tar.len, record, strlen(record)));
    assert_non_null(memmem(tar.p, tar.len, "18 uid=3000000000\n", 18));

    /* Nine GiB: the size stands in a pax header; the scan waits for that much. */
    cleanup_buf struct buf big = {0};
    struct tar_entry huge = {.type = TAR_FILE, .path = "huge", .size = (uint64_t)9 << 30};
    assert_int_equal(tar_write_header(&big, &huge, NULL), 0);
    struct tar_scan ts;
    tar_scan_init(&ts);
    assert_int_equal(tar_scan_update(&ts, big.p, big.len, &err), 0);
    assert_int_equal(ts.left, (uint64_t)9 << 30);
    tar_scan_free(&ts);

    /* A folder that says it has content has none, for all who unpack it. */
    cleanup_buf struct buf odd = {0};
    struct tar_entry folder = {.type = TAR_FOLDER, .path = "d", .size = 5000};
    assert_int_equal(tar_write_header(&odd, &folder, NULL), 0);
    tar_write_end(&odd);
    assert_int_equal(scan(&odd, &err), 0);

    /* Attributes beyond what readers take. */
    cleanup_free char *value = mem_zalloc(TAR_WRITE_PAX_MAX);
    struct tar_xattr fat = {(char *)"user.fat", value, TAR_WRITE_PAX_MAX};
    struct tar_entry obese = {.type = TAR_FILE, .path = "f", .xattrs = &fat, .xattr_count = 1};
    assert_int_equal(tar_write_header(&big, &obese, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
}

/* A record's length counts its own digits: at every turn from two digits to three, and to four. */
static void pax_lengths_count_themselves(void **state)
{
    (void)state;
    for (size_t n = 101; n < 1100; ++n) {
        char *path = mem_alloc(n + 1);
        memset(path, 'p', n);
        path[n] = '\0';
        struct tar_entry e = {.type = TAR_FILE, .path = path};
        cleanup_buf struct buf tar = {0};
        struct err err = {0};
        assert_int_equal(tar_write_header(&tar, &e, NULL), 0);
        tar_write_end(&tar);
        if (scan(&tar, &err) < 0)
            fail_msg("path of %zu: %s", n, err.msg);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_layer_passes_in_any_pieces),
        cmocka_unit_test(what_was_expected_and_found),
        cmocka_unit_test(sha512_is_checked_as_sha512),
        cmocka_unit_test(gzip_faults),
        cmocka_unit_test(tar_faults),
        cmocka_unit_test(a_bomb_stops_at_its_limit),
        cmocka_unit_test(headers_beyond_ustar),
        cmocka_unit_test(pax_lengths_count_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
