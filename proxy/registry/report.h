// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_REPORT_H
#define RAC_REGISTRY_REPORT_H
/* Tells the records what is served, and finds out what they need to know of it: once for each manifest, name
 * and worker, beside the answer. For registry*.c only. */
#include "proxy/registry/target.h"

/* Just before a manifest is sent (or a 304 in its place). asked: tag or digest, as the client wrote it.
 * source: what the upstream has in its place, or doc itself; NULL: not known, the state is asked. */
void report_manifest(struct registry *g, struct request *r, struct target *t, struct slice asked,
                     const struct document *doc, const struct digest *source, bool not_modified);

/* A GET of a blob that will be answered; its end is reported by itself. NULL: nothing is recorded. */
struct blob_report;
struct blob_report *report_blob(struct registry *g, struct request *r, struct target *t,
                                const struct digest *digest);
void report_blob_redirected(struct blob_report *b,
                            uint64_t size);     /* the client gets it elsewhere; NULL is fine */
void report_blob_missed(struct blob_report *b); /* an upstream is needed for it; NULL is fine */

/* What a target keeps of manifests that were served under its name. */
struct reported;
void reported_free(struct reported *list);
#endif
