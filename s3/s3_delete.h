// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_DELETE_H
#define RAC_S3_S3_DELETE_H
/* Deleting many at once. Private to s3*.c, its tests and fuzzers; pure. */
#include "s3/s3_call.h"

/* Appends `s` as XML text; false if it holds characters that XML 1.0 cannot. */
bool s3_add_xml_text(struct buf *b, const char *s);
/* The <Error>s of a DeleteResult: how many (NoSuchKey is none), *err set to the first. -1 with ERR_IO if it
 * is no such result. */
int s3_delete_result_parse(struct slice doc, struct err *err);
#endif
