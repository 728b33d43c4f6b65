// SPDX-License-Identifier: Apache-2.0
/* WWW-Authenticate headers, one a line: what is understood, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "proxy/upstream/challenge.h"

#define BAD "malformed"

/* Expected: "bearer realm|service|scope" and/or "basic", "" for neither, BAD for an error. */
static const struct {
    const char *header, *want;
} cases[] = {
    {"Bearer "
     "realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/"
     "busybox:pull\"",
     "bearer https://auth.docker.io/token|registry.docker.io|repository:library/busybox:pull"},
    {"Bearer realm=\"https://r/t\"", "bearer https://r/t||"},
    {"bearer REALM=\"https://r/t\"", "bearer https://r/t||"},
    {"BEARER Service=s, realm=\"https://r/t\"", "bearer https://r/t|s|"},
    {"Bearer  realm=\"https://r/t\"", "bearer https://r/t||"},
    {"Bearer\trealm=\"https://r/t\"", "bearer https://r/t||"},
    {"Bearer realm = \"https://r/t\" , service\t=\ts", "bearer https://r/t|s|"},
    {"Bearer realm=\"a\",,service=\"b\"", "bearer a|b|"},
    {"Bearer realm=\"a\" , , service=\"b\" ,", "bearer a|b|"},
    {",Bearer realm=\"a\"", "bearer a||"},
    {" , ,\tBearer realm=\"a\"", "bearer a||"},
    {"Bearer realm=\"a\\\"b\\\\c\"", "bearer a\"b\\c||"},
    {"Bearer realm=\"\\a\\b\"", "bearer ab||"},
    {"Bearer realm=\"\"", "bearer ||"},
    {"Bearer realm=\"a,b=c\",service=\"d e\"", "bearer a,b=c|d e|"},
    {"Bearer realm=\"a\",error=\"invalid_token\",error_description=\"x, y\"", "bearer a||"},
    {"Bearer scope=\"repository:a:pull,push repository:b:pull\",realm=\"a\"",
     "bearer a||repository:a:pull,push repository:b:pull"},
    {"Bearer realm=token-value", "bearer token-value||"},
    {"Bearer realm=\"tab\there\"", "bearer tab\there||"},
    {"Bearer realm=\"\xc3\xa9\"", "bearer \xc3\xa9||"},
    {"Bearer", "bearer ||"},
    {"Bearer ", "bearer ||"},
    {"Bearer abc==", "bearer ||"},
    {"Bearer abc= def", "bearer ||"}, /* a parameter with white space around its "=" */
    {"Bearer abc== def", BAD},
    {"Bearer , realm=\"a\"", "bearer a||"},
    {"Basic realm=\"x\"", "basic"},
    {"basic", "basic"},
    {"Basic realm=\"x\", charset=\"UTF-8\"", "basic"},
    {"Basic realm=\"x\", Bearer realm=\"y\",service=\"s\"", "bearer y|s| basic"},
    {"Bearer realm=\"y\", Basic realm=\"x\"", "bearer y|| basic"},
    {"Bearer realm=\"y\",Basic", "bearer y|| basic"},
    {"Negotiate", ""},
    {"Negotiate, Basic realm=\"x\"", "basic"},
    {"Negotiate YII+/~-._=, Bearer realm=\"y\"", "bearer y||"},
    {"NTLM TlRMTVNTUAAB==, Basic realm=x", "basic"},
    {"Digest realm=\"d\", nonce=\"n\", qop=\"auth,auth-int\", Basic realm=\"b\"", "basic"},
    {"Digest realm=\"d\", realm=\"e\"", ""},
    {"New!#$%&'*+-.^_`|~ a=b", ""},
    {"Bearer realm=\"first\", Bearer realm=\"second\"", "bearer first||"},
    {"Bearer realm=\"first\", Bearer service=\"second\"", "bearer first||"},
    {"", ""},
    {" ", ""},
    {",,,", ""},
    /* Not in the grammar. */
    {"Bearer realm=\"a", BAD},
    {"Bearer realm=\"a\\", BAD},
    {"Bearer realm=\"a\\\"", BAD},
    {"Bearer realm=\"a\" service=\"b\"", BAD},
    {"Bearer realm=\"a\"service=\"b\"", BAD},
    {"Bearer realm=\"a\"x", BAD},
    {"Bearer realm=\"a\";service=\"b\"", BAD},
    {"Bearer realm=\"a\",realm=\"b\"", BAD},
    {"Bearer realm=\"a\",REALM=\"b\"", BAD},
    {"Bearer scope=a,scope=b", BAD},
    {"Bearer realm='a b'", BAD},
    {"Bearer realm=https://r/t", BAD},
    {"Bearer realm=a@b", BAD},
    {"Bearer realm=\"a\rb\"", BAD},
    {"Bearer realm=\"a\nb\"", BAD},
    {"Bearer realm=\"a\x01\"", BAD},
    {"Bearer realm=\"a\x7f\"", BAD},
    {"Bearer \"quoted\"", BAD},
    {"Bearer =", BAD},
    {"Bearer =a", BAD},
    {"Bearer abc def", BAD},
    {"\"Bearer\"", BAD},
    {"Bearer; realm=\"a\"", BAD},
    {"Bearer=realm", BAD},
    {"B\xc3\xa9 realm=a", BAD},
    {"Basic realm=\"x", BAD},
    {"Basic realm=\"x\", \"y\"", BAD},
    {"(comment) Bearer", BAD},
    {"Bearer realm=\"a\", =b", BAD},
    {"Bearer realm=\"a\", service=", BAD},
    {"Bearer realm=\"a\", service=,", BAD},
};

static char *describe(const char *header)
{
    struct challenge c = {0};
    struct err err = {0};
    if (challenge_parse(slice_of(header), &c, &err) < 0) {
        assert_int_equal(err.code, ERR_UPSTREAM);
        assert_non_null(strstr(err.msg, "WWW-Authenticate"));
        assert_false(c.bearer || c.basic || c.realm[0]);
        return mem_strdup(BAD);
    }
    if (!c.bearer)
        return mem_strdup(c.basic ? "basic" : "");
    return mem_printf("bearer %s|%s|%s%s", c.realm, c.service, c.scope, c.basic ? " basic" : "");
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cleanup_free char *got = describe(cases[i].header);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("<%s>\n  gave   <%s>\n  wanted <%s>", cases[i].header, got, cases[i].want);
    }
}

static void test_several_headers(void **state)
{
    (void)state;
    struct challenge c = {0};
    assert_int_equal(challenge_parse(SLICE_LIT("Basic realm=\"x\""), &c, NULL), 0);
    assert_int_equal(challenge_parse(SLICE_LIT("Bearer realm=\"y\""), &c, NULL), 0);
    assert_int_equal(challenge_parse(SLICE_LIT("Bearer realm=\"z\",service=\"s\""), &c, NULL), 0);
    assert_true(c.basic && c.bearer);
    assert_string_equal(c.realm, "y");
    assert_string_equal(c.service, "");
    /* A malformed one takes nothing away. */
    assert_int_equal(challenge_parse(SLICE_LIT("Bearer realm=\""), &c, NULL), -1);
    assert_string_equal(c.realm, "y");
}

static void test_nul_is_refused(void **state)
{
    (void)state;
    struct challenge c = {0};
    assert_int_equal(challenge_parse(SLICE_LIT("Bearer realm=\"a\0b\""), &c, NULL), -1);
    assert_int_equal(challenge_parse(SLICE_LIT("Bearer\0 realm=\"a\""), &c, NULL), -1);
}

/* Each cut of a good header is read or refused, and nothing is read past its end (the sanitizer sees to
 * that). */
static void test_cuts(void **state)
{
    (void)state;
    static const char good[] =
        "Negotiate YII=, Bearer realm=\"a\\\"b\" , service=s, scope=\"c\", Basic realm=\"d\"";
    for (size_t n = 0; n <= sizeof good - 1; ++n) {
        char *copy = mem_alloc(n ? n : 1);
        memcpy(copy, good, n);
        struct challenge c = {0};
        struct err err;
        (void)challenge_parse((struct slice){copy, n}, &c, &err);
        free(copy);
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct challenge c = {0};
    struct err err;
    char *text = mem_zalloc(CHALLENGE_HEADER_MAX + 64);
    size_t front = strlen(strcpy(text, "Bearer realm=\""));
    memset(text + front, 'r', sizeof c.realm);
    text[front + sizeof c.realm] = '"';
    assert_int_equal(challenge_parse(slice_of(text), &c, &err), -1);
    assert_non_null(strstr(err.msg, "too long"));
    text[front + sizeof c.realm - 1] = '"';
    text[front + sizeof c.realm] = '\0';
    assert_int_equal(challenge_parse(slice_of(text), &c, &err), 0);
    assert_int_equal(strlen(c.realm), sizeof c.realm - 1);
    memset(text, ',', CHALLENGE_HEADER_MAX + 1);
    text[CHALLENGE_HEADER_MAX + 1] = '\0';
    assert_int_equal(challenge_parse(slice_of(text), &c, &err), -1);
    text[CHALLENGE_HEADER_MAX] = '\0';
    assert_int_equal(challenge_parse(slice_of(text), &c, &err), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),          cmocka_unit_test(test_several_headers),
        cmocka_unit_test(test_nul_is_refused), cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests_name("upstream challenge", tests, NULL, NULL);
}
