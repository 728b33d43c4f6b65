// SPDX-License-Identifier: Apache-2.0
/* The members of an entry of each option that is a list of objects, and an example that has some of them. */
#include "proxy/options/table.h"

const struct option_member option_upstream_members[] = {
    {"name", "NAME",
     "What images' names begin with: a host (`quay.io`, `registry.lab:5000`) or a word (`lab`). Required."},
    {"url", "URL",
     "`https://` or `http://`, host, port, path prefix. Without it, `https://` and the name, which is a host "
     "then: for an entry that only brings credentials."},
    {"plain-http", "true|false", "Speak plain HTTP; `url` may be without `http://` then."},
    {"username", "TEXT",
     "Needs `password` or `password-file`. `<token>`, as docker has it: the password is a refresh token "
     "(identity token)."},
    {"password", "TEXT", "Better in a file of its own: `password-file`."},
    {"password-file", "FILE", "It holds the password and nothing else. Read at start and on SIGHUP."},
    {"ca", "FILE", "PEM file of the authorities to trust instead of the system's."},
    {"realms", "[HOST, ...]",
     "Hosts of token servers outside of the upstream's own domain that may see the credentials."},
    {"inject", "FILE|none", "Injection file for all images of this upstream, before any rule."},
    {"fresh", "DURATION", "As `upstream.fresh`, for this one."},
    {"private", "true|false", "Redirects and token servers of this upstream may lead to private addresses."},
    {NULL, NULL, NULL},
};
const struct option_member option_rule_members[] = {
    {"match", "PATTERN", "Full name of images, `*` for any characters: `quay.io/nextflow/*`. Required."},
    {"injection", "FILE|none", "Injection file; `none` leaves these images as they are. Required."},
    {NULL, NULL, NULL},
};

const struct option_member option_account_members[] = {
    {"name", "NAME", "Letters, digits and `. _ - @`. Required."},
    {"password-hash", "HASH", "bcrypt: `rac-proxy --hash-password` or `htpasswd -nB` makes one."},
    {"password-hash-file", "FILE", "It holds the hash and nothing else. Read at start and on SIGHUP."},
    {"keys", "[sha256:DIGEST, ...]",
     "Digests of API keys, which `rac-proxy --make-key` makes: for `Authorization: Bearer`, or as the "
     "password."},
    {"certificate", "NAME",
     "Common name of client certificates that stand for the account: `tls.client-ca`."},
    {"roles", "[ROLE, ...]",
     "`pull` (the default), `request` (container tokens, validate-creds), `read-records`, `admin` (all of "
     "it)."},
    {"upstreams", "[{name, username, password or password-file}, ...]",
     "Credentials with which this account sees an upstream, instead of the proxy's own. What is cached under "
     "them is for this account alone."},
    {NULL, NULL, NULL},
};
const struct option_member option_account_upstream_members[] = {
    {"name", "NAME", "An upstream that is configured or known. Required."},
    {"username", "TEXT", "Required."},
    {"password", "TEXT", "Better in a file of its own: `password-file`."},
    {"password-file", "FILE", "It holds the password and nothing else. Read at start and on SIGHUP."},
    {NULL, NULL, NULL},
};
const struct option_member option_location_members[] = {
    {"network", "[NETWORK, ...]",
     "`10.1.0.0/16`, `2001:db8::/32`, a single address; one or a list. Required."},
    {"name", "TEXT", "What records call it. Required."},
    {NULL, NULL, NULL},
};

const struct option_member option_endpoint_members[] = {
    {"name", "NAME", "What logs, metrics and the place in the journal call it. Required."},
    {"url", "URL", "`https://` or `http://`. Private addresses are fine. Required."},
    {"headers", "{NAME: VALUE, ...}", "Sent with each request, as `Authorization: Bearer ...`. Never shown."},
    {"headers-file", "FILE", "Lines of `Name: value`, in a file of their own. Read at start."},
    {"ca", "FILE", "PEM file of the authorities to trust instead of the system's."},
    {"timeout", "DURATION", "How long an answer may take. 5s."},
    {"threshold", "NUMBER", "After so many failures one after the other it is left alone for `backoff`. 5."},
    {"backoff", "DURATION", "Longest wait after a failure: waits begin at 200 ms and double up to it. 10s."},
    {"ignore", "{mediaTypes: [...], actions: [...]}",
     "What is not sent: media types of manifests, or the actions `pull` and `check`."},
    {NULL, NULL, NULL},
};

const char options_example[] =
    "listen: [\"0.0.0.0:9090\"]\n"
    "accounts:                       # rac-proxy --hash-password, --make-key\n"
    "  - name: nodes\n"
    "    keys: "
    "[\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]\n"
    "    roles: [pull]\n"
    "data: /var/lib/rac-proxy\n"
    "cache:\n"
    "  size: 200GiB\n"
    "upstreams:\n"
    "  - name: docker.io            # known: only credentials are added\n"
    "    username: alice\n"
    "    password-file: secrets/docker.io\n"
    "  - {name: lab, url: \"http://registry.lab:5000\", inject: none}\n"
    "upstream.fresh: 5m\n"
    "inject:\n"
    "  - {match: \"quay.io/nextflow/*\", injection: layers/fuse.json}\n"
    "  - {match: \"*\", injection: none}\n"
    "inject.pinned: refuse\n";
