// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_COMMON_BASE64_H
#define RAC_COMMON_BASE64_H
/* base64 from outside (RFC 4648), decoded. Nothing but the characters of the form is taken: no white space,
 * no line breaks. Pure. To encode, there is EVP_EncodeBlock. */
#include <sys/types.h>

#include "common/err.h"
#include "common/str.h"

enum base64_form {
    BASE64_STRICT, /* section 4: with its padding, and the bits that are thrown away are zero, so that bytes
                      have one form only */
    BASE64_LOOSE,  /* section 4: the padding may be left out */
    BASE64_URL,    /* section 5: without padding, as RFC 7515 section 2 has it */
};

/* Bytes that `len` characters decode to, at most. */
#define BASE64_DECODED_MAX(len) (((len) / 4 + 1) * 3)

/* Into `out`, BASE64_DECODED_MAX(text.len) bytes; returns how many it are. ERR_INVALID. */
ssize_t base64_decode(struct slice text, enum base64_form form, void *out, struct err *err);
/* Appends. ERR_INVALID; ERR_SIZE_INVALID if it is more than the buf may hold. */
int base64_decode_buf(struct slice text, enum base64_form form, struct buf *out, struct err *err);
#endif
