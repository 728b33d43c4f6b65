// SPDX-License-Identifier: Apache-2.0
/* What the server says it has of an upload. */
#include <stdio.h>

#include "common/mem.h"
#include "s3/s3_upload.h"
#include "s3/xml.h"

static int read_part(struct xml *x, unsigned *ret_number, struct s3_part *ret, struct err *err)
{
    unsigned depth = x->depth;
    uint64_t number = 0;
    int rc;
    while ((rc = xml_next_child(x, depth, err)) == 1) {
        bool is_number = xml_is(x, "PartNumber"), is_etag = xml_is(x, "ETag"), is_size = xml_is(x, "Size"),
             is_crc = xml_is(x, "ChecksumCRC32C");
        cleanup_free char *text = NULL;
        if (xml_read_text(x, &text, err) < 0)
            return -1;
        if (is_number && !slice_to_u64(slice_of(text), S3_PARTS_MAX, &number))
            number = 0;
        else if (is_size && !slice_to_u64(slice_of(text), S3_OBJECT_SIZE_MAX, &ret->size))
            ret->size = 0;
        else if (is_etag)
            s3_etag_copy(slice_of(text), ret->etag);
        else if (is_crc && strlen(text) < sizeof ret->crc)
            (void)snprintf(ret->crc, sizeof ret->crc, "%s", text);
    }
    *ret_number = (unsigned)number;
    return rc;
}

int s3_parts_parse(struct slice doc, struct s3_upload *u, unsigned *ret_next, struct err *err)
{
    cleanup_xml struct xml x;
    uint64_t next = 0;
    bool cut = false;
    int rc;
    xml_init(&x, doc);
    if (xml_next(&x, err) != XML_START || !xml_is(&x, "ListPartsResult"))
        return err_set(err, ERR_IO, "the server's answer is no list of parts");
    while ((rc = xml_next_child(&x, 1, err)) == 1) {
        struct s3_part part = {.etag = ""};
        unsigned number = 0;
        bool is_cut = xml_is(&x, "IsTruncated"), is_next = xml_is(&x, "NextPartNumberMarker");
        cleanup_free char *text = NULL;
        if (xml_is(&x, "Part"))
            rc = read_part(&x, &number, &part, err);
        else
            rc = xml_read_text(&x, &text, err);
        if (rc < 0)
            return -1;
        if (number && part.etag[0])
            s3_upload_keep_part(u, number, &part);
        if (is_cut && text)
            cut = strcmp(text, "true") == 0;
        else if (is_next && text && !slice_to_u64(slice_of(text), S3_PARTS_MAX, &next))
            next = 0;
    }
    if (rc < 0)
        return -1;
    *ret_next = cut ? (unsigned)next : 0;
    return 0;
}
