// SPDX-License-Identifier: Apache-2.0
#include "proxy/options/yaml.h"

#include <string.h>
#include <yaml.h>

#include "common/mem.h"
#include "common/str.h"

struct reader {
    yaml_parser_t parser;
    const char *name;
    unsigned nodes;
};

/* What an event starts. A node is made and hung into the tree at once, so that an error on the way frees
 * everything. */
static int read_node(struct reader *r, const yaml_event_t *event, struct yaml_node *node, unsigned depth,
                     struct err *err);

static void cleanup_event(yaml_event_t *e)
{
    yaml_event_delete(e);
}
static void cleanup_parser(struct reader *r)
{
    yaml_parser_delete(&r->parser);
}

static int fail(const struct reader *r, yaml_mark_t at, struct err *err, const char *problem)
{
    return err_set(err, ERR_INVALID, "%s:%zu:%zu: %s", r->name, at.line + 1, at.column + 1, problem);
}

static int next_event(struct reader *r, yaml_event_t *event, struct err *err)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_READER_ERROR) {
        /* libyaml knows only the byte here. */
        return err_set(err, ERR_INVALID, "%s: byte %zu: %s", r->name, p->problem_offset,
                       p->problem ? p->problem : "not UTF-8 text");
    }
    cleanup_free char *text = mem_printf("%s%s%s", p->context ? p->context : "", p->context ? ": " : "",
                                         p->problem ? p->problem : "?");
    return fail(r, p->problem_mark, err, text);
}

/* A scalar's text: of values, and of keys. */
static int take_text(struct reader *r, const yaml_event_t *event, char **ret, struct err *err)
{
    const unsigned char *value = event->data.scalar.value;
    size_t len = event->data.scalar.length;
    for (size_t i = 0; i < len; ++i)
        if (value[i] < 0x20 || value[i] == 0x7f)
            return fail(r, event->start_mark, err, "a value holds a control character or a line break");
    *ret = mem_strndup((const char *)value, len);
    return 0;
}

static int read_scalar(struct reader *r, const yaml_event_t *event, struct yaml_node *node, struct err *err)
{
    node->kind = YAML_SCALAR;
    if (take_text(r, event, &node->text, err) < 0)
        return -1;
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return 0;
    for (size_t i = 0; i < sizeof nulls / sizeof nulls[0]; ++i)
        if (strcmp(node->text, nulls[i]) == 0)
            node->is_null = true;
    if (node->is_null)
        node->text[0] = '\0';
    return 0;
}

static struct yaml_node *add_child(struct yaml_node *parent, struct yaml_node **last)
{
    struct yaml_node *child = mem_new(struct yaml_node);
    if (*last)
        (*last)->next = child;
    else
        parent->children = child;
    *last = child;
    return child;
}

static int read_key(struct reader *r, const yaml_event_t *event, const struct yaml_node *map,
                    struct yaml_node *child, struct err *err)
{
    if (event->type == YAML_ALIAS_EVENT)
        return fail(r, event->start_mark, err, "anchors and aliases are not supported: write the value out");
    if (event->type != YAML_SCALAR_EVENT)
        return fail(r, event->start_mark, err, "a key is a single word");
    if (take_text(r, event, &child->key, err) < 0)
        return -1;
    if (!*child->key)
        return fail(r, event->start_mark, err, "a key is empty");
    for (const struct yaml_node *other = map->children; other != child; other = other->next) {
        if (strcmp(other->key, child->key) == 0)
            return err_set(err, ERR_INVALID, "%s:%zu:%zu: '%s' is there twice, first in line %u", r->name,
                           event->start_mark.line + 1, event->start_mark.column + 1, child->key, other->line);
    }
    child->line = (unsigned)event->start_mark.line + 1;
    child->column = (unsigned)event->start_mark.column + 1;
    return 0;
}

static int read_children(struct reader *r, struct yaml_node *node, unsigned depth, struct err *err)
{
    struct yaml_node *last = NULL;
    for (;;) {
        __attribute__((cleanup(cleanup_event))) yaml_event_t event = {0};
        if (next_event(r, &event, err) < 0)
            return -1;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT)
            return 0;
        struct yaml_node *child = add_child(node, &last);
        if (node->kind == YAML_LIST) {
            if (read_node(r, &event, child, depth + 1, err) < 0)
                return -1;
            continue;
        }
        if (read_key(r, &event, node, child, err) < 0)
            return -1;
        __attribute__((cleanup(cleanup_event))) yaml_event_t value = {0};
        if (next_event(r, &value, err) < 0 || read_node(r, &value, child, depth + 1, err) < 0)
            return -1;
    }
}

static int read_node(struct reader *r, const yaml_event_t *event, struct yaml_node *node, unsigned depth,
                     struct err *err)
{
    if (!node->key) {
        node->line = (unsigned)event->start_mark.line + 1;
        node->column = (unsigned)event->start_mark.column + 1;
    }
    if (depth > YAML_DEPTH_MAX)
        return fail(r, event->start_mark, err, "nested too deep");
    if (++r->nodes > YAML_NODES_MAX)
        return fail(r, event->start_mark, err, "too many values");
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        node->kind = YAML_LIST;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        node->kind = YAML_MAP;
        break;
    case YAML_ALIAS_EVENT:
        return fail(r, event->start_mark, err, "anchors and aliases are not supported: write the value out");
    default:
        return fail(r, event->start_mark, err, "a value is expected");
    }
    if (anchor)
        return fail(r, event->start_mark, err, "anchors and aliases are not supported: write the value out");
    if (tag)
        return fail(r, event->start_mark, err, "tags are not supported");
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(r, event, node, err);
    return read_children(r, node, depth, err);
}

/* The events between STREAM-START and STREAM-END, which are one document or none. */
static int read_stream(struct reader *r, struct yaml_node *root, struct err *err)
{
    bool seen = false;
    for (;;) {
        __attribute__((cleanup(cleanup_event))) yaml_event_t event = {0};
        if (next_event(r, &event, err) < 0)
            return -1;
        if (event.type == YAML_STREAM_END_EVENT)
            return 0;
        if (event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_END_EVENT)
            continue;
        if (event.type == YAML_DOCUMENT_START_EVENT) {
            if (seen)
                return fail(r, event.start_mark, err, "a second document: one file is one document");
            seen = true;
            continue;
        }
        if (read_node(r, &event, root, 1, err) < 0)
            return -1;
        if (root->kind == YAML_SCALAR && root->is_null)
            root->kind = YAML_MAP;
        if (root->kind != YAML_MAP)
            return fail(r, event.start_mark, err, "members are expected: 'listen: [\"127.0.0.1:9090\"]'");
    }
}

struct yaml_node *yaml_tree_parse(const char *bytes, size_t len, const char *name, struct err *err)
{
    if (len > YAML_BYTES_MAX) {
        (void)err_set(err, ERR_SIZE_INVALID, "%s: larger than 1 MiB, the limit of a configuration file",
                      name);
        return NULL;
    }
    __attribute__((cleanup(cleanup_parser))) struct reader r = {.name = name};
    if (!yaml_parser_initialize(&r.parser)) {
        (void)err_set(err, ERR_INTERNAL, "%s: out of memory", name);
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, len);
    cleanup_yaml struct yaml_node *root = mem_new(struct yaml_node);
    root->kind = YAML_MAP;
    if (read_stream(&r, root, err) < 0)
        return NULL;
    return steal_ptr(&root);
}

void yaml_tree_free(struct yaml_node *node)
{
    while (node) {
        struct yaml_node *next = node->next;
        yaml_tree_free(node->children); /* as deep as YAML_DEPTH_MAX */
        if (node->text)
            explicit_bzero(node->text, strlen(node->text));
        free(node->text);
        free(node->key);
        free(node);
        node = next;
    }
}

const char *yaml_tree_kind(const struct yaml_node *node)
{
    switch (node->kind) {
    case YAML_LIST:
        return "a list";
    case YAML_MAP:
        return "a group of members";
    case YAML_SCALAR:
        break;
    }
    return node->is_null ? "nothing" : "a single value";
}
