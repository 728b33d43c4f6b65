// SPDX-License-Identifier: Apache-2.0
/* What S3 answers with, given to every reader of it. */
#include <assert.h>
#include <stdint.h>

#include "common/mem.h"
#include "s3/credentials_source.h"
#include "s3/s3_copy.h"
#include "s3/s3_delete.h"
#include "s3/s3_list.h"
#include "s3/s3_upload.h"
#include "s3/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_events(struct slice doc)
{
    cleanup_xml struct xml x;
    enum xml_event event;
    xml_init(&x, doc);
    while ((event = xml_next(&x, NULL)) > XML_END_OF_DOCUMENT)
        assert(x.depth <= XML_DEPTH_MAX && x.text.len <= XML_TEXT_MAX);
    assert(event == XML_ERROR || x.depth == 0);
}

static void use_list(struct slice doc)
{
    struct s3_page page = {0};
    if (s3_list_parse(doc, &page, NULL) < 0)
        return;
    for (size_t i = 0; i < page.objects_len; ++i)
        assert(page.objects[i].key && *page.objects[i].key && strlen(page.objects[i].etag) <= S3_ETAG_MAX);
    for (size_t i = 0; i < page.prefixes_len; ++i)
        assert(page.prefixes[i] && *page.prefixes[i]);
    assert(!page.next || *page.next);
    s3_page_free(&page);
}

static void use_results(struct slice doc)
{
    char etag[S3_ETAG_MAX + 1] = "", crc[9];
    char **names;
    size_t len;
    struct s3_pending *pending;
    struct credentials *c;
    struct err err;
    if (s3_copy_result_parse(doc, etag, crc, NULL) == 0)
        assert(memchr(etag, '\0', sizeof etag) && memchr(crc, '\0', sizeof crc));
    if (s3_buckets_parse(doc, &names, &len, NULL) == 0)
        s3_names_free(names, len);
    if (s3_pending_parse(doc, "k", &pending, &len, NULL) == 0)
        s3_pending_free(pending, len);
    if (s3_pending_parse(doc, NULL, &pending, &len, NULL) == 0) {
        for (size_t i = 0; i < len; ++i)
            assert(pending[i].key && pending[i].id && *pending[i].id);
        s3_pending_free(pending, len);
    }
    struct s3_upload upload = {.lock = PTHREAD_MUTEX_INITIALIZER};
    unsigned next;
    if (s3_parts_parse(doc, &upload, &next, NULL) == 0)
        assert(next <= S3_PARTS_MAX);
    assert(upload.parts_len <= 2 * S3_PARTS_MAX);
    free(upload.parts);
    if (credentials_from_sts_xml(doc, &c, NULL) == 0)
        credentials_put(c);
    (void)s3_delete_result_parse(doc, &err);
    (void)s3_body_is_error(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_free char *copy = mem_alloc(size); /* its end is where the sanitizer sees it */
    memcpy(copy, data, size);
    struct slice doc = {copy, size};
    use_events(doc);
    use_list(doc);
    use_results(doc);
    return 0;
}
