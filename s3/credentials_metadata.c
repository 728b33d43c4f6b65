// SPDX-License-Identifier: Apache-2.0
/* The sources that are metadata services: of the container (ECS, EKS Pod Identity), and of EC2. */
#include <arpa/inet.h>
#include <strings.h>

#include "common/mem.h"
#include "s3/credentials_file.h"
#include "s3/credentials_source.h"
#include "s3/retry.h"

#define CONTAINER_HOST  "http://169.254.170.2"
#define CONTAINER_TRIES 3
#define CONTAINER_MS    2000
#define EC2_ENDPOINT    "http://169.254.169.254"
#define EC2_TRIES       2
#define EC2_MS          1000
#define EC2_TOKEN_TTL   "21600"
#define TOKEN_FILE_MAX  ((size_t)64 << 10)

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* GET (or PUT) until there is an answer that is no 5xx; 200 or it is an error. */
static int ask_service(const struct credentials_ask *ask, const struct http_request *q, unsigned tries,
                       struct http_answer *ret, struct err *err)
{
    struct retry retry = retry_new(tries);
    for (;;) {
        int rc = http_call(ask->http, q, ret, err);
        if (rc == 0 && ret->head.status == 200)
            return 0;
        if (rc == 0)
            (void)err_set(err, ERR_UNAUTHORIZED, "%s answered %d", q->server->host, ret->head.status);
        bool worth_it = rc < 0 ? !cancel_fired(ask->cancel) : ret->head.status >= 500;
        http_answer_free(ret);
        if (!worth_it || !retry_again(&retry, rc < 0, 0, ask->cancel, err))
            return -1;
    }
}

/* Plain http goes to addresses only that do not leave this machine: loopback, and the link-local ones of ECS
 * and EKS. Names are not trusted for that: they can be made to point anywhere. */
static bool container_server_allowed(const struct s3_url *u)
{
    struct in_addr v4;
    if (u->https)
        return true;
    if (inet_pton(AF_INET, u->host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127 || strcmp(u->host, "169.254.170.2") == 0 ||
               strcmp(u->host, "169.254.170.23") == 0;
    return strcmp(u->host, "::1") == 0 || strcmp(u->host, "fd00:ec2::23") == 0 ||
           strcmp(u->host, "localhost") == 0;
}

static int container_url(struct s3_url *ret, struct err *err)
{
    const char *relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative && !full)
        return 0;
    cleanup_free char *url = relative ? mem_printf(CONTAINER_HOST "%s", relative) : mem_strdup(full);
    if (relative && *relative != '/')
        return err_set(err, ERR_INVALID, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with '/'");
    if (s3_url_parse(url, ret, err) < 0)
        return -1;
    if (!container_server_allowed(ret))
        return err_set(err, ERR_INVALID,
                       "AWS_CONTAINER_CREDENTIALS_FULL_URI: plain http is for loopback and the "
                       "container services' own addresses");
    return 1;
}

/* "Authorization: ...", if there is a token. */
static int container_headers(struct buf *b, struct err *err)
{
    const char *file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    cleanup_free char *text = NULL;
    size_t len;
    if (file) {
        int rc = credentials_read_file(file, TOKEN_FILE_MAX, &text, &len, err);
        if (rc <= 0)
            return rc < 0 ? -1 : err_set(err, ERR_IO, "%s: no such file", file);
        token = text;
    }
    if (!token)
        return 0;
    struct slice value = slice_of(token);
    while (value.len && (value.p[value.len - 1] == '\n' || value.p[value.len - 1] == '\r'))
        --value.len;
    for (size_t i = 0; i < value.len; ++i) {
        if ((unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f)
            return err_set(err, ERR_INVALID, "the container's authorization token has control characters");
    }
    (void)buf_printf(b, "Authorization: %.*s\r\n", (int)value.len, value.p);
    return 0;
}

int credentials_from_container(const struct credentials_ask *ask, struct credentials **ret, struct err *err)
{
    struct s3_url server;
    cleanup_buf struct buf headers = {0};
    int rc = container_url(&server, err);
    if (rc <= 0)
        return rc;
    if (container_headers(&headers, err) < 0)
        return -1;
    (void)buf_add_str(&headers, "Accept: application/json\r\n");
    struct http_request q = {.method = "GET",
                             .server = &server,
                             .headers = {headers.p, headers.len},
                             .answer_timeout_ms = CONTAINER_MS,
                             .connect_timeout_ms = CONTAINER_MS,
                             .cancel = ask->cancel};
    cleanup_http_answer struct http_answer a = {0};
    if (ask_service(ask, &q, CONTAINER_TRIES, &a, err) < 0)
        return -1;
    return credentials_from_json((struct slice){a.text.p, a.text.len}, "container", ret, err) < 0 ? -1 : 1;
}

/* One question to EC2's service. */
static int ask_ec2(const struct credentials_ask *ask, const struct s3_url *server, const char *method,
                   const char *path, const char *headers, struct http_answer *ret, struct err *err)
{
    struct http_request q = {.method = method,
                             .server = server,
                             .target = path,
                             .headers = slice_of(headers),
                             .expects_body = strcmp(method, "PUT") == 0,
                             .answer_timeout_ms = EC2_MS,
                             .connect_timeout_ms = EC2_MS,
                             .cancel = ask->cancel};
    return ask_service(ask, &q, EC2_TRIES, ret, err);
}

/* One line of plain characters, as tokens and role names are. */
static char *first_line(const struct http_answer *a)
{
    struct slice rest = {a->text.p, a->text.len};
    struct slice line = slice_trim(slice_cut(&rest, '\n'));
    for (size_t i = 0; i < line.len; ++i) {
        if ((unsigned char)line.p[i] <= ' ' || (unsigned char)line.p[i] >= 0x7f)
            return NULL;
    }
    return line.len ? mem_dup(line.p, line.len) : NULL;
}

int credentials_from_ec2(const struct credentials_ask *ask, struct credentials **ret, struct err *err)
{
    const char *disabled = environment("AWS_EC2_METADATA_DISABLED");
    const char *endpoint = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    struct s3_url server;
    if (disabled && strcasecmp(disabled, "true") == 0)
        return 0;
    if (s3_url_parse(endpoint ? endpoint : EC2_ENDPOINT, &server, err) < 0)
        return -1;
    cleanup_http_answer struct http_answer token_answer = {0}, role_answer = {0}, answer = {0};
    if (ask_ec2(ask, &server, "PUT", "/latest/api/token",
                "x-aws-ec2-metadata-token-ttl-seconds: " EC2_TOKEN_TTL "\r\n", &token_answer, err) < 0)
        return -1;
    cleanup_free char *token = first_line(&token_answer);
    if (!token)
        return err_set(err, ERR_UNAUTHORIZED, "EC2's service gave no token");
    cleanup_free char *headers = mem_printf("x-aws-ec2-metadata-token: %s\r\n", token);
    static const char roles[] = "/latest/meta-data/iam/security-credentials/";
    if (ask_ec2(ask, &server, "GET", roles, headers, &role_answer, err) < 0)
        return -1;
    cleanup_free char *role = first_line(&role_answer);
    if (!role)
        return err_set(err, ERR_UNAUTHORIZED, "this EC2 instance has no role");
    cleanup_buf struct buf path = {.max = 4096};
    (void)buf_add_str(&path, roles);
    (void)s3_url_add_escaped(&path, role, false);
    if (ask_ec2(ask, &server, "GET", buf_str(&path), headers, &answer, err) < 0)
        return -1;
    return credentials_from_json((struct slice){answer.text.p, answer.text.len}, "EC2", ret, err) < 0 ? -1
                                                                                                      : 1;
}
