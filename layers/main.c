// SPDX-License-Identifier: Apache-2.0
/*
 * rac-layer: makes layers, and rewrites images offline with the proxy's own code. Options are read here; the
 * work is the library's. Exit status: 0 done, 1 failed, 2 wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "layers/image.h"
#include "layers/layer_source.h"
#include "layers/layout.h"
#include "layers/merge.h"
#include "layers/pack.h"
#include "layers/show.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define LIST_MAX 256

struct list {
    const char *v[LIST_MAX];
    size_t n;
};

static const char help_main[] =
    "Usage: rac-layer COMMAND ...\n"
    "Makes layers, and puts them into images.\n"
    "\n"
    "  pack DIR -o OUT                     make a reproducible layer of a folder\n"
    "  merge FILE... -o OUT                make one injection of several, as of one for each platform\n"
    "  image FILE -o OUT                   make an image of an injection's layers alone\n"
    "  inject --layout DIR --injection F   rewrite the images of an OCI layout\n"
    "  verify FILE                         check the layers of an injection\n"
    "  show FILE|-                         say what is in a layer, manifest, config or injection\n"
    "\n"
    "rac-layer COMMAND --help tells more. --version prints the version.\n";

static const char help_pack[] =
    "Usage: rac-layer pack DIR -o OUT [OPTION]...\n"
    "Makes a layer of what is in DIR: OUT/layer.tar.gz, and OUT/layer.json, an injection that\n"
    "adds it to images.\n"
    "The same names, modes, links, attributes and content give the same bytes, wherever and whenever.\n"
    "\n"
    "  -o, --output OUT     folder for the results; made if need be\n"
    "      --name NAME      of the layer: goes into layer.json and the history of images\n"
    "      --platform P     images it is for: [os/]architecture[/variant]; default: all\n"
    "      --entrypoint ARG put in front of the images' entry point; repeat for more arguments\n"
    "      --env K=V        set in images; repeatable\n"
    "      --owner UID:GID  of all entries (default 0:0)\n"
    "      --keep-owner     keep the owners of the files\n"
    "      --mtime SECONDS  time of all entries (default 0)\n"
    "      --devices        keep device nodes; else one is an error\n"
    "      --zstd           write OUT/layer.tar.zst too\n"
    "\n"
    "Overlayfs marks (0/0 devices, opaque folders) become OCI whiteouts; files called .wh.* stay\n"
    "what they are.\n";

static const char help_inject[] =
    "Usage: rac-layer inject --layout DIR --injection FILE [--out DIR] [--name NAME]\n"
    "Rewrites the images of an OCI image layout as the proxy does, and prints old and new digests.\n"
    "\n"
    "      --layout DIR     folder with index.json and blobs/, as skopeo, umoci or buildah write it\n"
    "      --injection FILE what is added: see docs/injection.md\n"
    "      --out DIR        leave the layout alone, and make this one\n"
    "      --name NAME      canonical name of the images, as docker.io/library/busybox; the same\n"
    "                       name as by the proxy gives the same digest. Default: what the layout\n"
    "                       says, else localhost/<folder>\n";

static const char help_verify[] =
    "Usage: rac-layer verify FILE\n"
    "Checks that the layers of an injection are where it says, with the sizes and digests that it\n"
    "says.\n";

static const char help_show[] =
    "Usage: rac-layer show FILE|-\n"
    "Says what is in FILE: a layer (tar, gzip or zstd), a manifest, an index, an\n"
    "image config or an injection.\n"
    "- is standard input.\n";

static const char help_merge[] =
    "Usage: rac-layer merge FILE... -o OUT\n"
    "Makes one injection of several that differ in their layers only, as of one packed for each platform:\n"
    "OUT/layer.json, and beside it the layers, as layer-linux-amd64.tar.gz.\n"
    "\n"
    "  -o, --output OUT     folder for the results; made if need be\n";

static const char help_image[] =
    "Usage: rac-layer image FILE -o OUT [--tag TAG] [--platform P]...\n"
    "Makes an image that holds the layers of an injection and nothing else, for Kubernetes image volumes and "
    "COPY --from:\n"
    "an OCI image layout, with an index of all platforms. Push it with skopeo copy --all.\n"
    "\n"
    "  -o, --output OUT     folder of the layout, made if need be; an archive of one if it ends with .tar\n"
    "      --tag TAG        name of the image in the layout (default latest)\n"
    "      --platform P     for this platform; repeatable. Default: the platforms that the layers name\n";

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "rac-layer: %s\n", err->msg);
    return EXIT_FAILED;
}

static int __attribute__((format(printf, 2, 3))) usage(const char *command, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fputs("rac-layer: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fprintf(stderr, "\nTry 'rac-layer%s%s --help'.\n", *command ? " " : "", command);
    va_end(ap);
    return EXIT_USAGE;
}

static int print_help(const char *text)
{
    return fputs(text, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static bool list_add(struct list *list, const char *s)
{
    if (list->n == LIST_MAX)
        return false;
    list->v[list->n++] = s;
    return true;
}

static bool parse_owner(const char *text, struct pack_options *o)
{
    struct slice rest = slice_of(text), uid = slice_cut(&rest, ':');
    return slice_to_u64(uid, UINT32_MAX - 1, &o->uid) && slice_to_u64(rest, UINT32_MAX - 1, &o->gid);
}

static bool parse_mtime(const char *text, struct pack_options *o)
{
    uint64_t v;
    if (!slice_to_u64(slice_of(text), INT64_MAX, &v))
        return false;
    o->mtime = (int64_t)v;
    return true;
}

enum pack_option {
    OPT_NAME = 256,
    OPT_PLATFORM,
    OPT_ENTRYPOINT,
    OPT_ENV,
    OPT_OWNER,
    OPT_KEEP_OWNER,
    OPT_MTIME,
    OPT_DEVICES,
    OPT_ZSTD,
    OPT_HELP
};

static const struct option pack_options_table[] = {
    {"output", required_argument, NULL, 'o'},
    {"name", required_argument, NULL, OPT_NAME},
    {"platform", required_argument, NULL, OPT_PLATFORM},
    {"entrypoint", required_argument, NULL, OPT_ENTRYPOINT},
    {"env", required_argument, NULL, OPT_ENV},
    {"owner", required_argument, NULL, OPT_OWNER},
    {"keep-owner", no_argument, NULL, OPT_KEEP_OWNER},
    {"mtime", required_argument, NULL, OPT_MTIME},
    {"devices", no_argument, NULL, OPT_DEVICES},
    {"zstd", no_argument, NULL, OPT_ZSTD},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

struct pack_command {
    struct pack_options options;
    struct list entrypoint, env;
    const char *out;
    bool owner_given;
};

/* One option into *c. -1 = all is well, else the exit status. */
static int pack_option(struct pack_command *c, int option)
{
    switch (option) {
    case 'o':
        c->out = optarg;
        return -1;
    case OPT_NAME:
        c->options.name = optarg;
        return -1;
    case OPT_PLATFORM:
        c->options.platform = optarg;
        return -1;
    case OPT_ENTRYPOINT:
        return list_add(&c->entrypoint, optarg) ? -1 : usage("pack", "more than %d --entrypoint", LIST_MAX);
    case OPT_ENV:
        return list_add(&c->env, optarg) ? -1 : usage("pack", "more than %d --env", LIST_MAX);
    case OPT_OWNER:
        c->owner_given = true;
        return parse_owner(optarg, &c->options)
                   ? -1
                   : usage("pack", "--owner '%s' is not UID:GID, in digits", optarg);
    case OPT_KEEP_OWNER:
        c->options.keep_owner = true;
        return -1;
    case OPT_MTIME:
        return parse_mtime(optarg, &c->options)
                   ? -1
                   : usage("pack", "--mtime '%s' is no number of seconds", optarg);
    case OPT_DEVICES:
        c->options.devices = true;
        return -1;
    case OPT_ZSTD:
        c->options.zstd = true;
        return -1;
    case OPT_HELP:
        return print_help(help_pack);
    default:
        return usage("pack", "wrong option");
    }
}

static void print_packed(const struct pack_command *c, const struct pack_result *r)
{
    char size[32], unpacked[32];
    (void)printf("%s/layer.tar.gz  %s, %zu entries, %s unpacked\n", c->out,
                 str_format_size(r->sums.gzip_size, size, sizeof size), r->entries,
                 str_format_size(r->sums.tar_size, unpacked, sizeof unpacked));
    (void)printf("gzipDigest  %s\ngzipSize    %" PRIu64 "\ntarDigest   %s\n", r->sums.gzip_digest.s,
                 r->sums.gzip_size, r->sums.tar_digest.s);
    if (c->options.zstd)
        (void)printf("zstdDigest  %s\nzstdSize    %" PRIu64 "\n", r->sums.zstd_digest.s, r->sums.zstd_size);
    (void)printf("injection   %s\n", r->injection.s);
    if (r->sockets)
        (void)fprintf(stderr, "rac-layer: %zu sockets were left out: an archive cannot hold them\n",
                      r->sockets);
}

static int main_pack(int argc, char **argv)
{
    cleanup_free struct pack_command *c = mem_new(struct pack_command);
    int option;
    while ((option = getopt_long(argc, argv, "o:", pack_options_table, NULL)) != -1) {
        int status = pack_option(c, option);
        if (status >= 0)
            return status;
    }
    if (argc - optind != 1)
        return usage("pack", "pack takes one folder");
    if (!c->out)
        return usage("pack", "-o OUT is missing: the folder for the results");
    if (c->owner_given && c->options.keep_owner)
        return usage("pack", "--owner and --keep-owner exclude each other");
    c->options.entrypoint = c->entrypoint.v;
    c->options.entrypoint_count = c->entrypoint.n;
    c->options.env = c->env.v;
    c->options.env_count = c->env.n;
    struct pack_result result;
    struct err err;
    if (pack_layer(argv[optind], c->out, &c->options, &result, &err) < 0)
        return fail(&err);
    print_packed(c, &result);
    return EXIT_DONE;
}

static void print_event(void *arg, const struct layout_event *e)
{
    char platform[PLATFORM_STR_MAX];
    (void)arg;
    (void)printf("%s  %-13s  %s", e->name,
                 e->is_index   ? "index"
                 : e->platform ? platform_format(e->platform, platform)
                               : "image",
                 e->source->s);
    if (e->skipped)
        (void)printf("  unchanged (%s)\n", e->skipped);
    else
        (void)printf(" -> %s\n", e->target->s);
}

static int main_inject(int argc, char **argv)
{
    static const struct option table[] = {
        {"layout", required_argument, NULL, 'l'}, {"injection", required_argument, NULL, 'i'},
        {"out", required_argument, NULL, 'o'},    {"name", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    struct layout_options o = {.report = print_event};
    const char *injection = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == 'l')
            o.dir = optarg;
        else if (option == 'i')
            injection = optarg;
        else if (option == 'o')
            o.out = optarg;
        else if (option == 'n')
            o.name = optarg;
        else if (option == 'h')
            return print_help(help_inject);
        else
            return usage("inject", "wrong option");
    }
    if (optind != argc)
        return usage("inject", "'%s' is not understood", argv[optind]);
    if (!o.dir || !injection)
        return usage("inject", "%s is missing", o.dir ? "--injection FILE" : "--layout DIR");
    struct err err;
    cleanup_injection struct injection *inj = injection_load(injection, &err);
    return inj && layout_inject(&o, inj, &err) == 0 ? EXIT_DONE : fail(&err);
}

static int main_verify(const char *path)
{
    struct err err;
    cleanup_injection struct injection *inj = injection_load(path, &err);
    if (!inj)
        return fail(&err);
    int status = EXIT_DONE;
    for (size_t i = 0; i < injection_layer_count(inj); ++i) {
        const struct injection_layer *layer = injection_layer_at(inj, i);
        if (layer_source_read(layer, NULL, NULL, &err) < 0) {
            (void)err_wrap(&err, "%s: layers[%zu]", path, i);
            status = fail(&err);
        } else {
            (void)printf("ok  %s  %" PRIu64 " bytes%s%s\n", layer->gzip_digest.s, layer->gzip_size,
                         layer->name ? "  " : "", layer->name ? layer->name : "");
        }
    }
    if (status == EXIT_DONE)
        (void)printf("injection %s: %zu layers, all as declared\n", injection_digest(inj)->s,
                     injection_layer_count(inj));
    return status;
}

static int main_merge(int argc, char **argv)
{
    static const struct option table[] = {
        {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    const char *out = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "o:", table, NULL)) != -1) {
        if (option == 'o')
            out = optarg;
        else
            return option == 'h' ? print_help(help_merge) : usage("merge", "wrong option");
    }
    if (optind == argc || !out)
        return usage("merge", "%s is missing", out ? "FILE" : "-o OUT");
    struct merge_result result;
    struct err err;
    if (merge_injections((const char *const *)argv + optind, (size_t)(argc - optind), out, &result, &err) < 0)
        return fail(&err);
    (void)printf("%s/layer.json  %zu layers\ninjection   %s\n", out, result.layers, result.injection.s);
    return EXIT_DONE;
}

static int main_image(int argc, char **argv)
{
    static const struct option table[] = {
        {"output", required_argument, NULL, 'o'},
        {"tag", required_argument, NULL, 't'},
        {"platform", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct list platforms = {0};
    struct image_options o = {0};
    int option;
    while ((option = getopt_long(argc, argv, "o:", table, NULL)) != -1) {
        if (option == 'o')
            o.out = optarg;
        else if (option == 't')
            o.tag = optarg;
        else if (option == 'p' && !list_add(&platforms, optarg))
            return usage("image", "more than %d --platform", LIST_MAX);
        else if (option != 'p')
            return option == 'h' ? print_help(help_image) : usage("image", "wrong option");
    }
    if (argc - optind != 1 || !o.out)
        return usage("image", "%s is missing", o.out ? "FILE" : "-o OUT");
    o.platforms = platforms.v;
    o.platform_count = platforms.n;
    struct err err;
    struct image_result result;
    cleanup_injection struct injection *inj = injection_load(argv[optind], &err);
    if (!inj || image_write(inj, &o, &result, &err) < 0)
        return fail(&err);
    for (size_t i = 0; i < result.image_count; ++i) {
        char platform[PLATFORM_STR_MAX];
        (void)printf("%-13s  %s\n", platform_format(&result.images[i].platform, platform),
                     result.images[i].manifest.s);
    }
    (void)printf("index          %s\n", result.index.s);
    return EXIT_DONE;
}

/* verify and show: one file and --help. */
static int main_one_file(const char *command, const char *help, int argc, char **argv)
{
    static const struct option table[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1)
        return option == 'h' ? print_help(help) : usage(command, "wrong option");
    if (argc - optind != 1)
        return usage(command, "%s takes one file", command);
    if (strcmp(command, "verify") == 0)
        return main_verify(argv[optind]);
    struct err err;
    return show_file(argv[optind], stdout, &err) < 0 ? fail(&err) : EXIT_DONE;
}

static int run(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "pack") == 0)
        return main_pack(argc - 1, argv + 1);
    if (strcmp(command, "merge") == 0)
        return main_merge(argc - 1, argv + 1);
    if (strcmp(command, "image") == 0)
        return main_image(argc - 1, argv + 1);
    if (strcmp(command, "inject") == 0)
        return main_inject(argc - 1, argv + 1);
    if (strcmp(command, "verify") == 0)
        return main_one_file(command, help_verify, argc - 1, argv + 1);
    if (strcmp(command, "show") == 0)
        return main_one_file(command, help_show, argc - 1, argv + 1);
    if (strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return print_help(help_main);
    if (strcmp(command, "--version") == 0)
        return printf("rac-layer %s\n", RAC_VERSION) > 0 ? EXIT_DONE : EXIT_FAILED;
    return *command ? usage("", "unknown command '%s'", command) : usage("", "a command is missing");
}

int main(int argc, char **argv)
{
    int status = run(argc, argv);
    if (status == EXIT_DONE && (fflush(stdout) != 0 || ferror(stdout))) {
        (void)fprintf(stderr, "rac-layer: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    return status;
}
