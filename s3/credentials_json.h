// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_CREDENTIALS_JSON_H
#define RAC_S3_CREDENTIALS_JSON_H
/* The flat JSON object that metadata services answer with (RFC 8259), one string member at a time. Pure. */
#include <stdbool.h>

#include "common/str.h"

/* The member `name` of the object `doc`, if its value is a string: malloc'd, unescaped. NULL if there is
 * none, if the document is malformed up to there, or if the string holds a NUL. Other values are passed over.
 */
char *credentials_json_string(struct slice doc, const char *name);
#endif
