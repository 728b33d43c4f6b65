// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_tags.h"

#include <utlist.h>

#include "common/cleanup.h"
#include "common/mem.h"
#include "s3/s3_url.h"

struct word {
    char *text;
    struct word *next;
};

struct rule {
    struct word *patterns;
    char *tags; /* escaped, ready to send */
    struct rule *next;
};

struct s3_tags {
    struct rule *rules;
};

static void rule_free(struct rule *r)
{
    struct word *w, *after;
    LL_FOREACH_SAFE (r->patterns, w, after) {
        free(w->text);
        free(w);
    }
    free(r->tags);
    free(r);
}

void s3_tags_free(struct s3_tags *t)
{
    if (!t)
        return;
    struct rule *r, *after;
    LL_FOREACH_SAFE (t->rules, r, after)
        rule_free(r);
    free(t);
}

/* What stands between `open` and the next `close`, *text moved behind it. */
static int bracketed(const char **text, char open, char close, struct slice *ret, struct err *err)
{
    const char *end = **text == open ? strchr(*text, close) : NULL;
    if (!end)
        return err_set(err, ERR_INVALID, "FUSION_TAGS: expected %c...%c at '%.40s'", open, close, *text);
    *ret = (struct slice){*text + 1, (size_t)(end - *text) - 1};
    *text = end + 1;
    return 0;
}

static int add_patterns(struct rule *r, struct slice list, struct err *err)
{
    while (list.p) {
        struct slice one = slice_trim(slice_cut(&list, '|'));
        if (!one.len)
            return err_set(err, ERR_INVALID, "FUSION_TAGS: an empty pattern");
        struct word *w = mem_new(struct word);
        w->text = mem_dup(one.p, one.len);
        LL_APPEND(r->patterns, w);
    }
    return 0;
}

static int add_tag(struct buf *b, struct slice tag, struct err *err)
{
    struct slice value = tag, name = slice_cut(&value, '=');
    name = slice_trim(name);
    if (!value.p || !name.len || name.len > S3_TAG_NAME_MAX || value.len > S3_TAG_VALUE_MAX)
        return err_set(err, ERR_INVALID, "FUSION_TAGS: '%.*s' is no name=value (of at most %d=%d bytes)",
                       (int)(tag.len < 60 ? tag.len : 60), tag.p, S3_TAG_NAME_MAX, S3_TAG_VALUE_MAX);
    cleanup_free char *n = mem_dup(name.p, name.len), *v = mem_dup(value.p, value.len);
    (void)buf_add_str(b, b->len ? "&" : "");
    (void)s3_url_add_escaped(b, n, false);
    (void)buf_add_str(b, "=");
    (void)s3_url_add_escaped(b, v, false);
    return 0;
}

static int add_tags(struct rule *r, struct slice list, struct err *err)
{
    cleanup_buf struct buf b = {0};
    for (int n = 0; list.p; ++n) {
        if (n == S3_TAGS_MAX)
            return err_set(err, ERR_INVALID, "FUSION_TAGS: an object has at most %d tags", S3_TAGS_MAX);
        if (add_tag(&b, slice_trim(slice_cut(&list, ',')), err) < 0)
            return -1;
    }
    r->tags = buf_take(&b);
    return 0;
}

static int parse_rule(struct s3_tags *t, const char **text, struct err *err)
{
    struct slice patterns, tags;
    if (bracketed(text, '[', ']', &patterns, err) < 0 || bracketed(text, '(', ')', &tags, err) < 0)
        return -1;
    struct rule *r = mem_new(struct rule);
    LL_APPEND(t->rules, r);
    if (add_patterns(r, patterns, err) < 0 || add_tags(r, tags, err) < 0)
        return -1;
    *text += strspn(*text, " ");
    if (**text == '\0')
        return 0;
    if (**text != ',')
        return err_set(err, ERR_INVALID, "FUSION_TAGS: expected a ',' at '%.40s'", *text);
    ++*text;
    *text += strspn(*text, " ");
    return 1;
}

int s3_tags_parse(const char *text, struct s3_tags **ret, struct err *err)
{
    if (strlen(text) > S3_TAGS_TEXT_MAX)
        return err_set(err, ERR_INVALID, "FUSION_TAGS: longer than %d bytes", S3_TAGS_TEXT_MAX);
    text += strspn(text, " ");
    if (!*text || strcmp(text, "false") == 0) {
        *ret = NULL;
        return 0;
    }
    struct s3_tags *t = mem_new(struct s3_tags);
    int rc;
    do {
        rc = parse_rule(t, &text, err);
    } while (rc > 0);
    if (rc < 0) {
        s3_tags_free(t);
        return -1;
    }
    *ret = t;
    return 0;
}

void s3_tags_add(const struct s3_tags *t, const char *key, struct buf *b)
{
    const char *slash = strrchr(key, '/'), *name = slash ? slash + 1 : key;
    const struct rule *r;
    const struct word *w;
    if (!t)
        return;
    LL_FOREACH (t->rules, r) {
        LL_FOREACH (r->patterns, w) {
            if (str_glob_match(w->text, strchr(w->text, '/') ? key : name)) {
                (void)buf_add_str(b, r->tags);
                return;
            }
        }
    }
}
