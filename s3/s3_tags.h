// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_TAGS_H
#define RAC_S3_S3_TAGS_H
/*
 * FUSION_TAGS: which objects are tagged how when they are written.
 *
 *     [.command.*|.exitcode](nextflow.io/metadata=true),[*](nextflow.io/temporary=true,team=x)
 *
 * The first rule with a pattern that matches decides. A pattern is matched against the key's last component,
 * or, if it holds a '/', against the whole key; only `*` is special. "false" and "" are no rules. Pure.
 */
#include "common/err.h"
#include "common/str.h"

#define S3_TAGS_TEXT_MAX 8192
#define S3_TAGS_MAX      10 /* of one object, S3's limit */
#define S3_TAG_NAME_MAX  128
#define S3_TAG_VALUE_MAX 256

struct s3_tags;

/* ERR_INVALID says where the text makes no sense. *ret is NULL if there are no rules. */
int s3_tags_parse(const char *text, struct s3_tags **ret, struct err *err);
void s3_tags_free(struct s3_tags *t); /* NULL is fine */
/* Appends "name=value&name=value", escaped, as x-amz-tagging has it; nothing if no rule matches. */
void s3_tags_add(const struct s3_tags *t, const char *key, struct buf *b);
#endif
