// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_S3_XML_H
#define RAC_S3_XML_H
/*
 * A pull reader for the XML of S3's answers: elements and text. No document type (refused: it could declare
 * entities), no namespaces (prefixes are cut off), attributes are skipped, comments and processing
 * instructions too. Pure; allocates nothing but the text of an element.
 */
#include <stdbool.h>

#include "common/err.h"
#include "common/str.h"

#define XML_DEPTH_MAX 32
#define XML_TEXT_MAX  ((size_t)64 << 10) /* of one element, unescaped */

enum xml_event { XML_ERROR = -1, XML_END_OF_DOCUMENT, XML_START, XML_TEXT, XML_END };

struct xml {
    struct slice rest;
    struct slice name; /* of the element that just started or ended; borrowed from the document */
    struct slice open[XML_DEPTH_MAX];
    unsigned depth;
    struct buf text;  /* XML_TEXT: all text up to the next tag, unescaped; may hold NUL */
    bool pending_end; /* of <a/> */
    bool seen_root;
};

/* The document is borrowed. */
void xml_init(struct xml *x, struct slice document);
void xml_free(struct xml *x);
#define cleanup_xml RAC_CLEANUP(xml_free)
/* ERR_IO for what is not well-formed or over a limit. White space between tags is an event like any text. */
enum xml_event xml_next(struct xml *x, struct err *err);
bool xml_is(const struct xml *x, const char *name); /* of the element that just started or ended */

/* After XML_START of an element: its text, without children's, up to and with its end. ret: NUL-terminated,
 * malloc'd. */
int xml_read_text(struct xml *x, char **ret, struct err *err);
int xml_skip(struct xml *x, struct err *err); /* the same, thrown away */
/* Inside an element, at depth `depth` (x->depth after its start): the next child's start. 1, 0 at the end of
 * the element, -1. */
int xml_next_child(struct xml *x, unsigned depth, struct err *err);
#endif
