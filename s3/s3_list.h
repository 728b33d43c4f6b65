// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_LIST_H
#define RAC_S3_S3_LIST_H
/* The parsers of listings, pure; private to s3*.c, their tests and fuzzers. ERR_IO for what makes no sense.
 */
#include "s3/s3_call.h"

int s3_list_parse(struct slice doc, struct s3_page *ret, struct err *err);
int s3_buckets_parse(struct slice doc, char ***ret_names, size_t *ret_len, struct err *err);
#endif
