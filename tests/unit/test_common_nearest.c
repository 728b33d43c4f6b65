// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "common/nearest.h"

static const char *const known[] = {"cache.size", "cache.memory", "upstream.fresh",
                                    "listen",     "data",         "log.level"};

static void test_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *wanted, *best;
    } cases[] = {
        {"cache.size", "cache.size"},
        {"cache.sise", "cache.size"},
        {"chace.size", "cache.size"},
        {"cache", "cache.size"},
        {"lisen", "listen"},
        {"listten", "listen"},
        {"dat", "data"},
        {"daat", "data"},
        {"log.lvl", "log.level"},
        {"fresh", NULL},
        {"", NULL},
        {"zzzz", NULL},
        {"da", "data"},
        {"d", NULL},
        {"a word that is longer than sixty-three bytes, which no option of ours is ever", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        struct nearest n = nearest_to(cases[i].wanted);
        for (size_t k = 0; k < sizeof known / sizeof known[0]; ++k)
            nearest_offer(&n, known[k]);
        if (!cases[i].best)
            assert_null(n.best);
        else if (!n.best)
            fail_msg("nothing is near '%s'", cases[i].wanted);
        else
            assert_string_equal(n.best, cases[i].best);
    }
    struct nearest swap = nearest_to("ab");
    nearest_offer(&swap, "ba");
    assert_int_equal(swap.distance, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
