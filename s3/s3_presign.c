// SPDX-License-Identifier: Apache-2.0
#include "common/clock.h"
#include "common/mem.h"
#include "s3/s3_call.h"

struct credentials *s3_credentials_get_ref(struct s3 *s3, struct cancel *cancel, struct err *err)
{
    if (s3->credentials)
        return credentials_get_ref(s3->credentials, cancel, err);
    (void)err_set(err, ERR_UNAUTHORIZED, "requests are not signed here");
    return NULL;
}

void s3_credentials_refused(struct s3 *s3, const struct credentials *c)
{
    if (s3->credentials)
        (void)credentials_refused(s3->credentials, c);
}

int s3_presign_get(struct s3 *s3, const struct credentials *c, const char *bucket, const char *key,
                   unsigned seconds, char **ret_url, struct err *err)
{
    cleanup_s3_place struct s3_place place = {.path = NULL};
    cleanup_buf struct buf url = {0};
    char host[URL_AUTHORITY_MAX + 1];
    if (s3_place_find(s3->places, bucket, key, &place, err) < 0)
        return -1;
    s3_url_authority(&place.server, host);
    (void)buf_printf(&url, "%s://%s%s?", place.server.https ? "https" : "http", host, place.path);
    struct sigv4_request request = {.method = "GET", .host = host, .path = place.path};
    struct sigv4_key signing_key = {.access_key_id = c->access_key_id,
                                    .secret_access_key = c->secret_access_key,
                                    .session_token = c->session_token,
                                    .region = place.region,
                                    .service = "s3"};
    if (sigv4_add_presigned(&url, &request, &signing_key, clock_wall_ms() + atomic_load(&s3->clock_ahead_ms),
                            seconds, err) < 0)
        return -1;
    *ret_url = buf_take(&url);
    return 0;
}
