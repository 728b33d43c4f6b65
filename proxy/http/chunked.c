// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/chunked.h"

static int digit(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int step_size(struct chunked *c, unsigned char byte)
{
    int value = digit(byte);
    if (value >= 0) {
        if (c->left >> 59) /* one digit more, and it could pass for negative */
            return -1;
        if (c->left == 0 && c->state == CHUNKED_DIGITS && ++c->extras > CHUNKED_EXTRAS_MAX)
            return -1; /* zeros in front, without end */
        c->left = c->left << 4 | (unsigned)value;
        c->state = CHUNKED_DIGITS;
        return 0;
    }
    if (c->state == CHUNKED_SIZE)
        return -1;
    if (byte != ';' && byte != '\r')
        return -1;
    c->state = byte == ';' ? CHUNKED_EXTENSION : CHUNKED_SIZE_LF;
    return 0;
}

/* A byte of an extension or a trailer; `end` is the state behind its CR. */
static int step_extra(struct chunked *c, unsigned char byte, enum chunked_state end)
{
    if (byte == '\r') {
        c->state = end;
        return 0;
    }
    if ((byte < ' ' && byte != '\t') || byte == 0x7f || ++c->extras > CHUNKED_EXTRAS_MAX)
        return -1;
    return 0;
}

static int step_lf(struct chunked *c, unsigned char byte, enum chunked_state next)
{
    if (byte != '\n')
        return -1;
    c->state = next;
    return 0;
}

static int step(struct chunked *c, unsigned char byte)
{
    switch (c->state) {
    case CHUNKED_SIZE:
    case CHUNKED_DIGITS:
        return step_size(c, byte);
    case CHUNKED_EXTENSION:
        return step_extra(c, byte, CHUNKED_SIZE_LF);
    case CHUNKED_SIZE_LF:
        return step_lf(c, byte, c->left ? CHUNKED_DATA : CHUNKED_TRAILER);
    case CHUNKED_DATA_CR:
        c->state = CHUNKED_DATA_LF;
        return byte == '\r' ? 0 : -1;
    case CHUNKED_DATA_LF:
        return step_lf(c, byte, CHUNKED_SIZE);
    case CHUNKED_TRAILER:
        if (byte == '\r') {
            c->state = CHUNKED_LAST_LF;
            return 0;
        }
        if (byte <= ' ') /* folded, or none */
            return -1;
        c->state = CHUNKED_FIELD;
        return step_extra(c, byte, CHUNKED_FIELD_LF);
    case CHUNKED_FIELD:
        return step_extra(c, byte, CHUNKED_FIELD_LF);
    case CHUNKED_FIELD_LF:
        return step_lf(c, byte, CHUNKED_TRAILER);
    case CHUNKED_LAST_LF:
        return step_lf(c, byte, CHUNKED_DONE);
    case CHUNKED_DATA:
    case CHUNKED_DONE:
        break;
    }
    return -1;
}

int chunked_next(struct chunked *c, struct slice *in, struct slice *ret_data)
{
    *ret_data = (struct slice){NULL, 0};
    while (in->len > 0 && c->state != CHUNKED_DONE) {
        if (c->state == CHUNKED_DATA) {
            size_t n = in->len < c->left ? in->len : (size_t)c->left;
            *ret_data = (struct slice){in->p, n};
            in->p += n;
            in->len -= n;
            c->left -= n;
            if (c->left == 0)
                c->state = CHUNKED_DATA_CR;
            return 0;
        }
        if (step(c, (unsigned char)in->p[0]) < 0)
            return -1;
        ++in->p;
        --in->len;
    }
    return 0;
}
