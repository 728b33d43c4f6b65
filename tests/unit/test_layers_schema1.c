// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "common/digest.h"
#include "layers/schema1.h"

#define FIXTURE RAC_FIXTURES "/schema1-manifest.json"

static void a_real_one(void **state)
{
    (void)state;
    cleanup_buf struct buf b = {0}, payload = {0};
    cleanup_fclose FILE *f = fopen(FIXTURE, "re");
    char piece[4096];
    assert_non_null(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        (void)buf_add(&b, piece, n);
    struct err err;
    assert_true(schema1_may_be_signed(b.p, b.len));
    if (schema1_payload(b.p, b.len, &payload, &err) < 0)
        fail_msg("%s", err.msg);
    assert_string_equal(digest_of(payload.p, payload.len).s,
                        "sha256:319b8d4eca0fc0367d192941f221f7fcd29a6b96996c63cbf8931dbb66e53348");
    assert_int_equal(payload.len, 6991);
}

/* {"formatLength":6,"formatTail":"fQ"}: six bytes, then a brace */
#define SIX_AND_BRACE "eyJmb3JtYXRMZW5ndGgiOjYsImZvcm1hdFRhaWwiOiJmUSJ9"
/* {"formatLength":0,"formatTail":"e30"}: nothing of the bytes, all in the tail */
#define EMPTY_AND_OBJECT "eyJmb3JtYXRMZW5ndGgiOjAsImZvcm1hdFRhaWwiOiJlMzAifQ"
/* {"formatLength":600,"formatTail":"fQ"} */
#define BEHIND_THE_END "eyJmb3JtYXRMZW5ndGgiOjYwMCwiZm9ybWF0VGFpbCI6ImZRIn0"
/* {"formatLength":-1,"formatTail":"fQ"} */
#define NEGATIVE "eyJmb3JtYXRMZW5ndGgiOi0xLCJmb3JtYXRUYWlsIjoiZlEifQ"
/* {"formatLength":6,"formatTail":5} */
#define NUMBER_AS_TAIL "eyJmb3JtYXRMZW5ndGgiOjYsImZvcm1hdFRhaWwiOjV9"
/* {"formatLength":6} */
#define NO_TAIL "eyJmb3JtYXRMZW5ndGgiOjZ9"
/* {"formatLength":6,"formatTail":"fX0"}: what comes out is no JSON */
#define TWO_BRACES "eyJmb3JtYXRMZW5ndGgiOjYsImZvcm1hdFRhaWwiOiJmWDAifQ"

static void payloads(void **state)
{
    (void)state;
    static const struct {
        const char *text, *payload; /* NULL: refused */
    } cases[] = {
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" SIX_AND_BRACE "\"}]}", "{\"a\":1}"},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" SIX_AND_BRACE "\"},{\"protected\":\"" SIX_AND_BRACE
         "\"}]}",
         "{\"a\":1}"},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" EMPTY_AND_OBJECT "\"}]}", "{}"},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" SIX_AND_BRACE "\"},{\"protected\":\"" EMPTY_AND_OBJECT
         "\"}]}",
         NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" BEHIND_THE_END "\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" NEGATIVE "\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" NUMBER_AS_TAIL "\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" NO_TAIL "\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" TWO_BRACES "\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"e30=\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"e\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"\"}]}", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":7}]}", NULL},
        {"{\"a\":1,\"signatures\":[{}]}", NULL},
        {"{\"a\":1,\"signatures\":[7]}", NULL},
        {"{\"a\":1,\"signatures\":[]}", NULL},
        {"{\"a\":1,\"signatures\":{}}", NULL},
        {"{\"a\":1}", NULL},
        {"[]", NULL},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" SIX_AND_BRACE "\"}]} ", "{\"a\":1}"},
        {"{\"a\":1,\"signatures\":[{\"protected\":\"" SIX_AND_BRACE "\"}]}x", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_buf struct buf payload = {0};
        struct err err = {0};
        int rc = schema1_payload(cases[i].text, strlen(cases[i].text), &payload, &err);
        if ((rc == 0) != (cases[i].payload != NULL))
            fail_msg("%s: %d %s", cases[i].text, rc, err.msg);
        assert_string_equal(buf_str(&payload), cases[i].payload ? cases[i].payload : "");
        if (rc < 0)
            assert_int_equal(err.code, ERR_MANIFEST_INVALID);
    }
}

static void what_is_not_looked_at(void **state)
{
    (void)state;
    assert_false(schema1_may_be_signed("", 0));
    assert_false(schema1_may_be_signed("{\"layers\":[]}", 13));
    assert_true(schema1_may_be_signed("{\"signatures\":1}", 16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_one),
        cmocka_unit_test(payloads),
        cmocka_unit_test(what_is_not_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
