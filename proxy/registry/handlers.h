// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_REGISTRY_HANDLERS_H
#define RAC_REGISTRY_HANDLERS_H
/* One handler a route; each answers, now or later. For registry*.c only. `name` is the name as it stands in
 * the path; the target's reference is the handler's. */
#include "proxy/registry/target.h"

/* asked: what the client wrote, for the records: the reference, or the tag that stands for it. */
void manifests_handle(struct registry *g, struct request *r, struct target *t, struct slice reference,
                      struct slice asked);
void blobs_handle(struct registry *g, struct request *r, struct target *t, struct slice digest);
void tag_list_handle(struct registry *g, struct request *r, struct target *t, struct slice name);
void referrers_handle(struct registry *g, struct request *r, struct target *t, struct slice name,
                      struct slice digest);
void catalog_handle(struct registry *g, struct request *r);
/* The `n` of a paged list: 0 with *ret_n (max_n if absent), or -1 after an answer 400. */
int page_size(struct request *r, uint64_t max_n, uint64_t *ret_n);
#endif
