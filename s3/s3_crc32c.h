// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_S3_CRC32C_H
#define RAC_S3_S3_CRC32C_H
/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), by the processor's instruction where it has one. Pure. */
#include <stddef.h>
#include <stdint.h>

/* Of `crc` (0 at the start) and further bytes. */
uint32_t s3_crc32c(uint32_t crc, const void *p, size_t len);
/* The same without the instruction. */
uint32_t s3_crc32c_portable(uint32_t crc, const void *p, size_t len);
/* As x-amz-checksum-crc32c has it: base64 of the four bytes, most significant first. 8 characters and a NUL.
 */
void s3_crc32c_text(uint32_t crc, char ret[9]);
#endif
