// SPDX-License-Identifier: Apache-2.0
/*
 * rac-init: the entry point that the runtime layer puts in front of an image's own, which are its arguments.
 * Where no bucket is named it becomes the command at once; else it mounts S3 and stays, as supervise.h tells.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fuse-layer/init/chain.h"
#include "fuse-layer/init/command.h"
#include "fuse-layer/init/descriptors.h"
#include "fuse-layer/init/driver.h"
#include "fuse-layer/init/lookup.h"
#include "fuse-layer/init/options.h"
#include "fuse-layer/init/say.h"
#include "fuse-layer/init/supervise.h"

static const char help[] =
    "usage: rac-init COMMAND [ARGUMENT]...\n\n"
    "Runs COMMAND with S3 below /fusion/s3, if buckets are named; else just runs it.\n\n"
    "  NXF_FUSION_BUCKETS, RAC_S3_BUCKETS  buckets, comma-separated: [s3://]bucket[/prefix]\n"
    "  RAC_MOUNT           required: without a mount there is no command, exit code 1 (default);\n"
    "                      optional: the command starts without\n"
    "  RAC_MOUNT_TIMEOUT   for the mount to answer (default 10s)\n"
    "  RAC_FLUSH_TIMEOUT   for uploads to complete after the command's end (default 20s)\n"
    "  RAC_USER            name|uid[:group|gid]: who the command runs as\n"
    "  WAVE_ENTRY_CHAIN    words in front of COMMAND: one as it is, several as a JSON array\n"
    "  RAC_LOG_LEVEL       debug, info, warn, error or off (default warn)\n\n"
    "The exit code is the command's, or 128 + its signal; 126 and 127 as in a shell; 174 if the command "
    "succeeded\n"
    "and not everything was stored.\n";

static int fail(const struct err *err, int code)
{
    say(SAY_ERROR, "%s", err->msg);
    return code;
}

/* Alone, and only where no entry chain could mean it for itself. */
static bool is_for_us(const struct options *o, int argc, char **argv, const char *flag)
{
    return argc == 2 && !o->chain && strcmp(argv[1], flag) == 0;
}

static int run_with_mount(const struct options *o, struct command *command)
{
    struct err err;
    descriptors_reserve();
    if (driver_check(&err) < 0) {
        say(o->required ? SAY_ERROR : SAY_WARN, "no S3 in this container: %s%s", err.msg,
            o->required ? ". RAC_MOUNT=optional would start the command without it" : "");
        return o->required ? SUPERVISE_NO_MOUNT : command_become(command);
    }
    int code = supervise(o, command, &err);
    if (code < 0)
        return fail(&err, SUPERVISE_NO_MOUNT);
    return code == SUPERVISE_GO_ON ? command_become(command) : code;
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err;
    if (options_read(&options, &err) < 0)
        return fail(&err, SUPERVISE_NO_MOUNT);
    say_set_level(options.level);
    if (is_for_us(&options, argc, argv, "--help"))
        return fputs(help, stdout) < 0 || fflush(stdout) != 0;
    if (is_for_us(&options, argc, argv, "--version"))
        return puts("rac-init " RAC_VERSION) < 0 || fflush(stdout) != 0;

    cleanup_free char **words = chain_command(options.chain, argc - 1, argv + 1, &err);
    if (!words)
        return fail(&err, LOOKUP_NOT_EXECUTABLE);
    if (!words[0]) {
        say(SAY_ERROR, "no command: neither the image has one, nor was one given");
        return LOOKUP_NOT_FOUND;
    }
    static struct user user;
    struct command command = {.argv = words};
    if (options.user) {
        if (user_resolve(options.user, &user, &err) < 0)
            return fail(&err, LOOKUP_NOT_EXECUTABLE);
        command.user = &user;
    }
    /* They have done what they are for. Were the command, or what it starts, rac-init again, it would be done
     * twice. */
    (void)unsetenv("WAVE_ENTRY_CHAIN");
    (void)unsetenv("RAC_USER");
    return options.buckets ? run_with_mount(&options, &command) : command_become(&command);
}
