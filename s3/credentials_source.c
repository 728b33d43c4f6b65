// SPDX-License-Identifier: Apache-2.0
/* The sources that need no metadata service: environment, profile, web identity by STS. */
#include "s3/credentials_source.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "s3/credentials_file.h"
#include "s3/credentials_json.h"
#include "s3/credentials_profile.h"
#include "s3/retry.h"
#include "s3/s3_config.h"
#include "s3/s3_time.h"
#include "s3/xml.h"

#define TOKEN_FILE_MAX ((size_t)64 << 10)
#define STS_TRIES      3
#define STS_TIMEOUT_MS 10000

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

int credentials_from_environment(const struct credentials_ask *ask, struct credentials **ret, struct err *err)
{
    (void)ask;
    const char *id = environment("AWS_ACCESS_KEY_ID"), *secret = environment("AWS_SECRET_ACCESS_KEY");
    if (!id && !secret)
        return 0;
    if (!id || !secret)
        return err_set(err, ERR_INVALID, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
    return credentials_new(id, secret, environment("AWS_SESSION_TOKEN"), 0, "environment", ret, err) < 0 ? -1
                                                                                                         : 1;
}

int credentials_from_json(struct slice doc, const char *source, struct credentials **ret, struct err *err)
{
    cleanup_free char *id = credentials_json_string(doc, "AccessKeyId");
    cleanup_free char *secret = credentials_json_string(doc, "SecretAccessKey");
    cleanup_free char *token = credentials_json_string(doc, "Token");
    cleanup_free char *expiration = credentials_json_string(doc, "Expiration");
    int64_t expires_ms = 0;
    if (!id || !secret)
        return err_set(err, ERR_INVALID, "its answer holds no AccessKeyId and SecretAccessKey");
    if (expiration && !s3_time_parse(slice_of(expiration), &expires_ms))
        return err_set(err, ERR_INVALID, "its answer's Expiration is no time");
    return credentials_new(id, secret, token, expires_ms, source, ret, err);
}

int credentials_from_sts_xml(struct slice doc, struct credentials **ret, struct err *err)
{
    cleanup_xml struct xml x;
    static const char *const names[] = {"AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"};
    char *values[4] = {NULL, NULL, NULL, NULL};
    int64_t expires_ms = 0;
    enum xml_event event;
    xml_init(&x, doc);
    int rc = 0;
    while (rc == 0 && (event = xml_next(&x, err)) != XML_END_OF_DOCUMENT) {
        rc = event == XML_ERROR ? -1 : 0;
        for (size_t i = 0; rc == 0 && event == XML_START && i < 4; ++i) {
            if (xml_is(&x, names[i]) && !values[i]) {
                rc = xml_read_text(&x, &values[i], err);
                break;
            }
        }
    }
    if (rc == 0 && values[3] && !s3_time_parse(slice_of(values[3]), &expires_ms))
        rc = err_set(err, ERR_INVALID, "the STS answer's Expiration is no time");
    if (rc == 0)
        rc = credentials_new(values[0], values[1], values[2], expires_ms, "web identity", ret, err);
    for (size_t i = 0; i < 4; ++i)
        free(values[i]);
    return rc;
}

static int sts_server(const struct credentials_ask *ask, struct s3_url *ret, struct err *err)
{
    /* AWS_ENDPOINT_URL is for all services (servers that are not AWS have STS at the same place). */
    const char *endpoint = environment("AWS_ENDPOINT_URL_STS"), *region = ask->region;
    if (!endpoint)
        endpoint = environment("AWS_ENDPOINT_URL");
    if (endpoint)
        return s3_url_parse(endpoint, ret, err);
    region = region ? region : S3_REGION_DEFAULT;
    cleanup_free char *regional =
        mem_printf("https://sts.%s.amazonaws.com%s/", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    return s3_url_parse(regional, ret, err);
}

/* <Error><Code>: what STS says was wrong; never a credential. */
static int sts_refused(const struct http_answer *a, struct err *err)
{
    cleanup_xml struct xml x;
    cleanup_free char *code = NULL, *message = NULL;
    enum xml_event event;
    xml_init(&x, (struct slice){a->text.p, a->text.len});
    while ((event = xml_next(&x, NULL)) > XML_END_OF_DOCUMENT) {
        if (event == XML_START && xml_is(&x, "Code") && !code)
            (void)xml_read_text(&x, &code, NULL);
        else if (event == XML_START && xml_is(&x, "Message") && !message)
            (void)xml_read_text(&x, &message, NULL);
    }
    return err_set(err, ERR_UNAUTHORIZED, "STS answered %d %.60s: %.200s", a->head.status, code ? code : "",
                   message ? message : "");
}

static int ask_sts(const struct credentials_ask *ask, const struct s3_url *server, struct slice form,
                   struct credentials **ret, struct err *err)
{
    struct iovec body = {(void *)(uintptr_t)form.p, form.len};
    struct http_request q = {.method = "POST",
                             .server = server,
                             .headers = SLICE_LIT("Content-Type: application/x-www-form-urlencoded\r\n"
                                                  "Accept: application/xml\r\n"),
                             .body = &body,
                             .body_len = 1,
                             .answer_timeout_ms = STS_TIMEOUT_MS,
                             .connect_timeout_ms = STS_TIMEOUT_MS,
                             .cancel = ask->cancel};
    struct retry retry = retry_new(STS_TRIES);
    for (;;) {
        cleanup_http_answer struct http_answer a = {0};
        int rc = http_call(ask->http, &q, &a, err);
        if (rc == 0 && a.head.status == 200)
            return credentials_from_sts_xml((struct slice){a.text.p, a.text.len}, ret, err);
        if (rc == 0)
            (void)sts_refused(&a, err);
        bool worth_it = rc < 0 ? !cancel_fired(ask->cancel) : a.head.status >= 500 || a.head.status == 429;
        if (!worth_it || !retry_again(&retry, false, 0, ask->cancel, err))
            return -1;
    }
}

static int assume_role(const struct credentials_ask *ask, const char *token_file, const char *role,
                       const char *session, struct credentials **ret, struct err *err)
{
    cleanup_free char *token = NULL;
    size_t len;
    struct s3_url server;
    int rc = credentials_read_file(token_file, TOKEN_FILE_MAX, &token, &len, err);
    if (rc <= 0)
        return rc < 0 ? -1 : err_set(err, ERR_IO, "%s: no such file", token_file);
    if (!role)
        return err_set(err, ERR_INVALID, "a web identity token, but no role (AWS_ROLE_ARN)");
    if (sts_server(ask, &server, err) < 0)
        return -1;
    while (len && (token[len - 1] == '\n' || token[len - 1] == '\r' || token[len - 1] == ' '))
        token[--len] = '\0';
    cleanup_buf struct buf form = {0};
    (void)buf_add_str(&form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=");
    (void)s3_url_add_escaped(&form, role, false);
    (void)buf_add_str(&form, "&RoleSessionName=");
    (void)s3_url_add_escaped(&form, session ? session : "rac-fuse", false);
    (void)buf_add_str(&form, "&WebIdentityToken=");
    (void)s3_url_add_escaped(&form, token, false);
    return ask_sts(ask, &server, (struct slice){form.p, form.len}, ret, err) < 0 ? -1 : 1;
}

int credentials_from_web_identity(const struct credentials_ask *ask, struct credentials **ret,
                                  struct err *err)
{
    const char *file = environment("AWS_WEB_IDENTITY_TOKEN_FILE");
    if (!file)
        return 0;
    return assume_role(ask, file, environment("AWS_ROLE_ARN"), environment("AWS_ROLE_SESSION_NAME"), ret,
                       err);
}

int credentials_from_profile(const struct credentials_ask *ask, struct credentials **ret, struct err *err)
{
    cleanup_profile struct profile p = {0};
    if (profile_load(&p, err) < 0)
        return -1;
    if (p.web_identity_token_file)
        return assume_role(ask, p.web_identity_token_file, p.role_arn, p.role_session_name, ret, err);
    if (p.access_key_id || p.secret_access_key)
        return credentials_new(p.access_key_id, p.secret_access_key, p.session_token, 0, "profile", ret,
                               err) < 0
                   ? -1
                   : 1;
    if (p.role_arn)
        return err_set(err, ERR_UNSUPPORTED, "role_arn without web_identity_token_file is not supported");
    return environment("AWS_PROFILE")
               ? err_set(err, ERR_NOT_FOUND, "AWS_PROFILE names a profile without keys")
               : 0;
}
