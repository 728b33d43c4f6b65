// SPDX-License-Identifier: Apache-2.0
/* Flags that are no values of the configuration. */
#include "proxy/options/table.h"

const struct option_action option_actions[] = {
    {"--config", 'c', OPTION_ACTION_CONFIG, "FILE", "Read options from a YAML file. Also RAC_CONFIG."},
    {"--check-config", 0, OPTIONS_CHECK, NULL,
     "Say whether all options are valid, and what they are; serve nothing."},
    {"--scrub", 0, OPTIONS_SCRUB, NULL,
     "Read all stored blobs again, check their digests, move wrong ones away."},
    {"--gc-s3", 0, OPTIONS_GC, NULL,
     "Delete the blobs in the bucket that --blobs names which nobody asked for since --older-than."},
    {"--older-than", 0, OPTION_ACTION_OLDER, "AGE", "With --gc-s3: how old; 30d, for example."},
    {"--dry-run", 0, OPTION_ACTION_DRY, NULL, "With --gc-s3: delete nothing, say what would be."},
    {"--backup", 0, OPTIONS_BACKUP, "FILE",
     "Copy the state (tokens, links, tags; not the blobs) to a new file, also while a rac-proxy uses it."},
    {"--export-pulls", 0, OPTIONS_EXPORT, "FILE",
     "Write the pull records to a file, one JSON object a line, compressed if its name ends with .zst; - is "
     "standard "
     "output. Also while a rac-proxy writes them."},
    {"--since", 0, OPTION_ACTION_SINCE, "TIME",
     "With --export-pulls: only records since then; a time, as 2026-01-31T12:00:00Z, or how long ago, as "
     "7d."},
    {"--hash-password", 0, OPTIONS_HASH, NULL,
     "Read a password, from the terminal or standard input, and print its hash for 'accounts'."},
    {"--make-key", 0, OPTIONS_KEY, NULL, "Print a new API key, and its digest for 'accounts'."},
    {"--make-webhook-certificate", 0, OPTIONS_CERTIFICATE, "DIR",
     "Make an authority and a certificate for the admission webhook: ca.crt, tls.crt and tls.key in DIR; "
     "print "
     "the caBundle of its configuration."},
    {"--names", 0, OPTION_ACTION_NAMES, "NAME,...",
     "With --make-webhook-certificate: what the webhook is reached by, instead of "
     "rac-proxy-webhook.rac.svc."},
    {"--print-config-doc", 0, OPTIONS_DOC, NULL, "Print the reference of all options, in Markdown."},
    {"--print-config-table", 0, OPTIONS_TABLE, NULL, "Print the options in one short table, in Markdown."},
    {"--print-metrics-doc", 0, OPTIONS_METRICS, NULL, "Print the reference of all metrics, in Markdown."},
    {"--print-man", 0, OPTIONS_MAN, NULL, "Print the manual page."},
    {"--print-bash-completion", 0, OPTIONS_BASH, NULL, "Print the completion for bash."},
    {"--print-zsh-completion", 0, OPTIONS_ZSH, NULL, "Print the completion for zsh."},
    {"--version", 'V', OPTIONS_VERSION, NULL, "Print the version."},
    {"--help", 'h', OPTIONS_HELP, NULL, "Print this help."},
};
const size_t option_action_count = sizeof option_actions / sizeof option_actions[0];
