// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_COPY_H
#define RAC_S3_S3_COPY_H
/* What copies and uploads have in common. Private to s3*.c, their tests and fuzzers. */
#include "s3/s3_call.h"

/* x-amz-copy-source and, if etag is not empty, its If-Match. */
void s3_request_source(struct s3 *s3, struct s3_request *q, const char *bucket, const char *key,
                       const char *etag);
/* CopyObjectResult, CopyPartResult, CompleteMultipartUploadResult: the ETag (ERR_IO if there is none; "" if
 * it is empty, as Ceph's gateway has it for uploads) and the CRC32C ("" if there is none). Pure. */
int s3_copy_result_parse(struct slice doc, char ret_etag[S3_ETAG_MAX + 1], char ret_crc[9], struct err *err);
#endif
