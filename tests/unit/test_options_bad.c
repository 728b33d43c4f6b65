// SPDX-License-Identifier: Apache-2.0
/* What is refused, one case a line, with the part of the message that tells what to do. */
#include "options_rig.h"

struct bad_yaml {
    const char *text;
    const char *expected; /* part of the message, which begins with "rac.yaml:<line>:<column>: " where it
                             starts with ':' */
};

static const struct bad_yaml bad_yaml[] = {
    /* members */
    {"cach:\n  size: 1GiB\n", ":1:1: cach: unknown member: did you mean 'cache.size'?"},
    {"cache:\n  sise: 1GiB\n", ":2:3: cache.sise: unknown member: did you mean 'cache.size'?"},
    {"cache.sise: 1GiB\n", ":1:1: cache.sise: unknown member: did you mean 'cache.size'?"},
    {"zzzzzzzzzzzz: 1\n", ":1:1: zzzzzzzzzzzz: unknown member"},
    {"upsteams: []\n", "did you mean 'upstreams'?"},
    {"upstream:\n  frehs: 1s\n", "did you mean 'upstream.fresh'?"},
    {"cache: 5\n", ":1:1: cache: expected members below it, found a single value"},
    {"cache: [size]\n", ":1:1: cache: expected members below it, found a list"},
    {"cache: {size: {x: 1}}\n", ":1:9: cache.size: expected a single value, found a group of members"},
    {"cache: {size: [1]}\n", "cache.size: expected a single value, found a list"},
    {"cache: {size: }\n", "cache.size: expected a single value, found nothing"},
    {"data:\n", ":1:1: data: expected a single value, found nothing"},
    {"data: ~\n", "data: expected a single value, found nothing"},
    {"data: ''\n", "data: the value is empty"},
    {"data: a\ndata: b\n", ":2:1: 'data' is there twice, first in line 1"},
    {"cache: {size: 1GiB}\ncache.size: 2GiB\n", ":2:1: cache.size: is there twice, first in line 1"},
    {"cache: {size: 1GiB, size: 2GiB}\n", ":1:21: 'size' is there twice, first in line 1"},
    /* the document */
    {"- a\n", ":1:1: members are expected"},
    {"text\n", ":1:1: members are expected"},
    {"data: a\n---\ndata: b\n", ":2:1: a second document"},
    {"data: &x a\ncache.memory: *x\n", ":1:7: anchors and aliases are not supported"},
    {"data: *x\n", "anchors and aliases are not supported"},
    {"*x : a\n", "anchors and aliases are not supported"},
    {"data: !!str a\n", "tags are not supported"},
    {"cache: !x {}\n", "tags are not supported"},
    {"[a]: b\n", "a key is a single word"},
    {"'': b\n", "a key is empty"},
    {"data: \"a\\0b\"\n", "control character"},
    {"data: \"a\\nb\"\n", "control character"},
    {"data: |\n  a\n  b\n", "control character or a line break"},
    {"data: 'a\n", "rac.yaml:"},
    {"data: a: b\n", ":1:8: mapping values are not allowed"},
    {"data: {a\n", "rac.yaml:"},
    {"\tdata: a\n", ":1:1: "},
    {"data: \xff\xfe\n", "rac.yaml: byte 6"},
    {"data: \xc3\n", "rac.yaml: byte 7: invalid trailing UTF-8 octet"},
    {"a: [[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]\n", "nested too deep"},
    /* single values */
    {"cache.size: big\n", ":1:1: cache.size: 'big' is not a size: write 512MiB, 10GiB, 80% or bytes"},
    {"cache.size: -1\n", "'-1' is not a size"},
    {"cache.size: 1e9\n", "'1e9' is not a size"},
    {"cache.size: 0x1000000\n", "'0x1000000' is not a size"},
    {"cache.size: 10 PiB\n", "'10 PiB' is not a size"},
    {"cache.size: 99999999999TiB\n", "is not a size"},
    {"cache.size: 0%\n", "'0%' is out of range: from 1% to 100%"},
    {"cache.size: 101%\n", "'101%' is not a size"},
    {"cache.size: 80.5%\n", "'80.5%' is not a size"},
    {"cache.size: 1KiB\n", "'1KiB' is out of range: from 64KiB to 8192TiB"},
    {"cache.memory: 50%\n", "'50%' is not a size: write 512MiB, 10GiB or bytes"},
    {"cache.memory: 2TiB\n", "out of range: from 0B to 1TiB"},
    {"upstream.fresh: soon\n", "upstream.fresh: 'soon' is not a duration: write 500ms, 10s, 5m, 24h or 7d"},
    {"upstream.fresh: -5s\n", "'-5s' is not a duration"},
    {"upstream.fresh: 5 weeks\n", "'5 weeks' is not a duration"},
    {"upstream.fresh: 1.s\n", "'1.s' is not a duration"},
    {"upstream.fresh: inf\n", "'inf' is not a duration"},
    {"upstream.fresh: 2000d\n", "'2000d' is out of range: from 0s to 365d"},
    {"upstream.connect-timeout: 10ms\n", "'10ms' is out of range: from 100ms to 60m"},
    {"http.idle-timeout: 0\n", "'0' is out of range: from 1s to 24h"},
    {"workers: 1.5\n", "workers: '1.5' is not a whole number"},
    {"workers: -1\n", "'-1' is not a whole number"},
    {"workers: 257\n", "'257' is out of range: from 0 to 256"},
    {"workers: 99999999999999999999999\n", "is not a whole number"},
    {"http.max-connections: 0\n", "'0' is out of range: from 1 to 1000000"},
    {"upstreams.any: yes\n", "upstreams.any: 'yes' is neither true nor false"},
    {"log.access: 1\n", "log.access: '1' is neither true nor false"},
    {"log.level: inof\n", "'inof' is not one of debug, info, warn, error or off: did you mean 'info'?"},
    {"k8s.exempt-namespaces: a,,b\n", "k8s.exempt-namespaces: 'a,,b' is not a list of words"},
    {"k8s.architectures: amd64/v2\n", "'amd64/v2' is not a list of words of letters, digits and ._:-"},
    {"k8s.pull-policy: never\n", "'never' is not one of keep or always"},
    {"k8s.proxy-name: https://a\n", "k8s.proxy-name: "},
    {"peer-address: http://a:1\n", "peer-address: given without state"},
    {"peer-ca: /x\n", "peer-ca: given without state"},
    {"state: redis://a\npeer-address: a:1\n", "'a:1': expected http://HOST:PORT or https://HOST:PORT"},
    {"state: redis://a\npeer-address: ftp://a\n", "'ftp://a': expected http://HOST:PORT"},
    {"state: redis://a\npeer-address: http://\n", "'http://': expected http://HOST:PORT"},
    {"state: redis://a\npeer-address: http://a/b\n", "'http://a/b': expected http://HOST:PORT"},
    {"state: redis://a\npeer-address: http://u@a\n", "'http://u@a': expected http://HOST:PORT"},
    {"state: redis://a\npeer-address: http://fd00::1:g\n", "'http://fd00::1:g': expected http://HOST:PORT"},
    {"state: redis://a\npeer-address: http://a:0\n", "'http://a:0': expected http://HOST:PORT"},
    {"log.format: xml\n", "'xml' is not one of logfmt or json"},
    {"inject.pinned: deny\n", "'deny' is not one of pass or refuse"},
    /* listen */
    {"listen: []\n", "listen: expected an address or a list of them, found an empty list"},
    {"listen:\n", "found nothing"},
    {"listen: {a: b}\n", "found a group of members"},
    {"listen: [[a]]\n", "listen: expected an address, found a list"},
    {"listen: ['']\n", "an address is empty"},
    {"listen: [9090]\n", "'9090' has no port: write 127.0.0.1:9090"},
    {"listen: ['127.0.0.1']\n", "'127.0.0.1' has no port"},
    {"listen: ['127.0.0.1:']\n", "'' is not a port"},
    {"listen: ['127.0.0.1:65536']\n", "'65536' is not a port: from 0 (any free one) to 65535"},
    {"listen: ['127.0.0.1:http']\n", "'http' is not a port"},
    {"listen: ['127.0.0.1:-1']\n", "'-1' is not a port"},
    {"listen: ['127.0.0.1:000080']\n", "'000080' is not a port"},
    {"listen: ['300.0.0.1:80']\n", "'300.0.0.1' is not an address"},
    {"listen: ['127.0.0.1.5:80']\n", "'127.0.0.1.5' is not an address"},
    {"listen: ['::1:9090']\n", "an IPv6 address stands in brackets: [::1]:9090"},
    {"listen: ['::1']\n", "an IPv6 address stands in brackets"},
    {"listen: ['[::1]9090']\n", "an IPv6 address stands in brackets"},
    {"listen: ['[::g]:9090']\n", "'[::g]' is not an address"},
    {"listen: ['http://127.0.0.1:9090']\n", "stands in brackets"},
    {"listen: ['a b:9090']\n", "'a b' is not an address"},
    {"listen: ['-a:9090']\n", "'-a' is not an address"},
    {"listen: ['127.0.0.1:1', '127.0.0.1:1']\n", "'127.0.0.1:1' is there twice"},
    /* TLS */
    {"tls.certificate: ca.pem\n", ":1:1: tls.certificate: given without tls.key"},
    {"tls: {key: key.pem}\n", ":1:7: tls.key: given without tls.certificate"},
    {"tls: {certificate: nothing, key: key.pem}\n", "tls.certificate: cannot read 'nothing': No such file"},
    {"tls: {certificate: ca.pem, key: nothing}\n", "tls.key: cannot read 'nothing'"},
    {"tls: {certificate: folder, key: key.pem}\n", "'folder' is a folder, a file is expected"},
    {"tls.http2: true\n", ":1:1: tls.http2: HTTP/2 needs TLS"},
    {"data: secret\n", ":1:1: data: 'secret' is not a folder"},
/* access */
#define HASH "$2b$10$azxRV/tdGCqd9Mu3/X81VegzmXJQZTX7yP910fIkODT.xltuoxdVG"
#define KEY  "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    {"listen: ':9090'\n", "other machines may reach :9090, and nobody is let in: add an account"},
    {"listen: ['127.0.0.1:1', 'lab:1']\n", "other machines may reach lab:1, and nobody"},
    {"listen: '128.0.0.1:1'\n", "or let everybody in by --open"},
    {"access.anonymous: none\n", "nobody is let in"},
    {"listen: ':9443'\nk8s.proxy-name: a.lab\n", "nobody is let in"},
    {"k8s.clients: kube-apiserver\n", "k8s.clients: given without tls.client-ca"},
    {"open: true\naccess: {anonymous: [pull]}\n", ":1:1: open: stands beside access.anonymous"},
    {"access: {anonymous: [push]}\n", ":1:10: access.anonymous: 'push' is not a role (pull, request, "},
    {"access.anonymous: pul\n", "did you mean 'pull'?"},
    {"access.anonymous: [pull, none]\n", "none stands alone"},
    {"access.anonymous: 'none,pull'\n", "none stands alone"},
    {"access.anonymous: [[pull]]\n", "expected a role, found a list"},
    {"access.anonymous: {pull: true}\n", "expected a list of roles, found a group of members"},
    {"access.anonymous:\n", "found nothing"},
    {"accounts: alice\n", ":1:1: accounts: expected a list of {name: ..., password-hash: ...}"},
    {"accounts: [alice]\n", ":1:12: accounts: an account is {name: NAME, "},
    {"accounts: [{}]\n", "the account has no 'name'"},
    {"accounts: [{name: alice}]\n", "nobody could log in as 'alice'"},
    {"accounts: [{name: 'a:b', password-hash: " HASH "}]\n", ":1:13: accounts.name: an account's name has"},
    {"accounts: [{name: 'a b', password-hash: " HASH "}]\n", "an account's name has"},
    {"accounts: [{name: -a, password-hash: " HASH "}]\n", "an account's name has"},
    {"accounts: [{name: a, pasword-hash: x}]\n", "did you mean 'password-hash'?"},
    {"accounts: [{name: a, password: hunter2}]\n", ":1:22: accounts.password: unknown member"},
    {"accounts: [{name: a, password-hash: hunter2}]\n", "accounts.password-hash: expected a bcrypt hash"},
    {"accounts: [{name: a, password-hash: '$2b$10$short'}]\n", "expected a bcrypt hash"},
    {"accounts: [{name: a, password-hash: '$1$10$azxRV/tdGCqd9Mu3/X81VegzmXJQZTX7yP910fIkODT.xltuoxdVGx'}]\n",
     "expected a bcrypt hash"},
    {"accounts: [{name: a, password-hash: '$2b$31$azxRV/tdGCqd9Mu3/X81VegzmXJQZTX7yP910fIkODT.xltuoxdVG'}]\n",
     "the hash has cost 31: from 4 to 14"},
    {"accounts: [{name: a, password-hash: " HASH ", password-hash-file: secret}]\n",
     "there are two password hashes"},
    {"accounts: [{name: a, password-hash-file: secret}]\n", "expected a bcrypt hash"},
    {"accounts: [{name: a, password-hash-file: nothing}]\n", "cannot read 'nothing'"},
    {"accounts: [{name: a, keys: rack_0123}]\n", "that is a key itself"},
    {"accounts: [{name: a, keys: ['sha256:abc']}]\n", "expected sha256: and 64 hexadecimal digits"},
    {"accounts: [{name: a, keys: [[x]]}]\n", "expected a key's digest, found a list"},
    {"accounts: [{name: a, keys: ['" KEY "', '" KEY "']}]\n", "a key of account 'a' is there twice"},
    {"accounts: [{name: a, keys: '" KEY "'}, {name: b, keys: '" KEY "'}]\n", "account 'b' is there twice"},
    {"accounts: [{name: a, keys: '" KEY "'}, {name: a, password-hash: " HASH "}]\n", "'a' is there twice"},
    {"accounts: [{name: a, keys: '" KEY "', roles: [root]}]\n", "accounts.roles: 'root' is not a role"},
    {"accounts: [{name: a, certificate: node-1}]\n", "has a certificate, which needs tls.client-ca"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: lab}]\n", "accounts.upstreams: expected a list"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [lab]}]\n", "expected {name: NAME, username: TEXT"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [{name: lab, username: u}]}]\n",
     "there is no 'password-file'"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [{name: lab, password: hunter2}]}]\n",
     "there is no 'username'"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [{name: lab, username: u, url: 'http://x'}]}]\n",
     "accounts.url: unknown member"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [{name: l, username: u, password: p, password-file: "
     "secret}]}]\n",
     "there are both password and password-file"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [{name: l, username: 'u:', password: p}]}]\n",
     "a user name has no colon"},
    {"accounts: [{name: a, keys: '" KEY "', upstreams: [{name: l, username: u, password: p}, {name: l, "
     "username: u, password: p}]}]\n",
     "upstream 'l' is there twice"},
    {"tls.client-ca: ca.pem\n", ":1:1: tls.client-ca: client certificates need TLS"},
    {"tls.client-auth: required\n", ":1:1: tls.client-auth: given without tls.client-ca"},
    {"tls.client-auth: always\n", "'always' is not one of optional or required"},
    {"locations: 10.0.0.0/8\n", "expected a list of {network: ..., name: ...}"},
    {"locations: [{network: 10.0.0.0/8}]\n", "the location has no 'name'"},
    {"locations: [{name: a}]\n", "the location has no 'network'"},
    {"locations: [{network: 10.0.0.1/8, name: a}]\n",
     "has bits behind its prefix: the network is 10.0.0.0/8"},
    {"locations: [{network: lab, name: a}]\n", "'lab' is not a network"},
    {"locations: [{network: [10.0.0.0/8, 10.0.0.0/8], name: a}]\n", "'10.0.0.0/8' is there twice"},
    {"trusted-proxies: [10.0.0.1, lab]\n", "trusted-proxies: 'lab' is not a network"},
    {"trusted-proxies: {a: b}\n", "expected a list of networks"},
    /* upstreams */
    {"upstreams: docker.io\n", "upstreams: expected a list of {name: ..., url: ...}, found a single value"},
    {"upstreams: {quay.io: {}}\n", ":1:13: upstreams.quay.io: unknown member"},
    {"upstreams: [quay.io]\n",
     ":1:13: upstreams: an upstream is {name: NAME, url: URL, ...}, found a single value"},
    {"upstreams: [{}]\n", ":1:13: upstreams: the upstream has no 'name'"},
    {"upstreams:\n  - {nmae: x}\n", ":2:6: upstreams.nmae: unknown member: did you mean 'name'?"},
    {"upstreams: [{name: [x]}]\n", "upstreams.name: expected a single value, found a list"},
    {"upstreams: [{name: }]\n", "upstreams.name: expected a single value, found nothing"},
    {"upstreams: [{name: ''}]\n", "upstreams.name: the value is empty"},
    {"upstreams: [{name: wt, url: 'http://x'}]\n", "upstreams.name: 'wt' is a reserved word"},
    {"upstreams: [{name: v2, url: 'http://x'}]\n", "'v2' is a reserved word"},
    {"upstreams: [{name: library, url: 'http://x'}]\n", "'library' is a reserved word"},
    {"upstreams: [{name: 'a/b', url: 'http://x'}]\n", "without scheme and path"},
    {"upstreams: [{name: 'https://quay.io'}]\n", "without scheme and path"},
    {"upstreams: [{name: 'a..b', url: 'http://x'}]\n", "'a..b' is not a name of an upstream"},
    {"upstreams: [{name: '-a', url: 'http://x'}]\n", "'-a' is not a name"},
    {"upstreams: [{name: 'a_', url: 'http://x'}]\n", "'a_' is not a name"},
    {"upstreams: [{name: 'a___b', url: 'http://x'}]\n", "'a___b' is not a name"},
    {"upstreams: [{name: 'a b', url: 'http://x'}]\n", "'a b' is not a name"},
    {"upstreams: [{name: 'a:0', url: 'http://x'}]\n", "'a:0' is not a name"},
    {"upstreams: [{name: 'a:99999', url: 'http://x'}]\n", "'a:99999' is not a name"},
    {"upstreams: [{name: lab}]\n", "upstream 'lab' has no url, and its name is no host"},
    {"upstreams: [{name: a, url: 'http://x'}, {name: a, url: 'http://y'}]\n", "upstream 'a' is there twice"},
    {"upstreams: [{name: docker.io}, {name: index.docker.io}]\n", "upstream 'docker.io' is there twice"},
    {"upstreams: [{name: a, url: 'ftp://x'}]\n", "upstreams.url: 'ftp://x' is neither http:// nor https://"},
    {"upstreams: [{name: a, url: 'x.example'}]\n", "'x.example' does not begin with https:// or http://"},
    {"upstreams: [{name: a, url: 'https://'}]\n", "'https://' names no host"},
    {"upstreams: [{name: a, url: 'https:///p'}]\n", "names no host"},
    {"upstreams: [{name: a, url: 'https://x:0'}]\n", "'0' is not a port: from 1 to 65535"},
    {"upstreams: [{name: a, url: 'https://x:y'}]\n", "'y' is not a port"},
    {"upstreams: [{name: a, url: 'https://x:1:2'}]\n", "'x:1:2' is not a host"},
    {"upstreams: [{name: a, url: 'https://[::1'}]\n", "'[::1' is not a host"},
    {"upstreams: [{name: a, url: 'https://x_-'}]\n", "is not a host"},
    {"upstreams: [{name: a, url: 'https://1.2.3'}]\n", "'1.2.3' is not a host"},
    {"upstreams: [{name: a, url: 'https://x/a//b'}]\n", "empty or dot segment"},
    {"upstreams: [{name: a, url: 'https://x/../b'}]\n", "empty or dot segment"},
    {"upstreams: [{name: a, url: 'https://x/a b'}]\n", "the path may hold letters, digits"},
    {"upstreams: [{name: a, url: 'https://x/%2e'}]\n", "the path may hold letters, digits"},
    {"upstreams: [{name: a, url: 'https://x/v2/'}]\n", "leave out /v2, it is added"},
    {"upstreams: [{name: a, url: 'https://x/?token=abc'}]\n", "the URL has a query or a fragment"},
    {"upstreams: [{name: a, url: 'https://x#f'}]\n", "the URL has a query or a fragment"},
    {"upstreams: [{name: a, url: 'https://u:hunter2@x'}]\n",
     "put username and password-file under 'upstreams'"},
    {"upstreams: [{name: a, url: 'https://x', plain-http: true}]\n", "is https://, and plain-http is true"},
    {"upstreams: [{name: a, url: 'http://x', plain-http: false}]\n", "is http://, and plain-http is false"},
    {"upstreams: [{name: a, url: 'http://x', plain-http: 1}]\n", "plain-http: '1' is neither true nor false"},
    {"upstreams: [{name: a.b, username: u}]\n", "upstream 'a.b' has a username without a password"},
    {"upstreams: [{name: a.b, password: hunter2}]\n", "upstream 'a.b' has a password without a username"},
    {"upstreams: [{name: a.b, username: 'u:v', password: hunter2}]\n",
     "upstreams.username: a user name has no colon"},
    {"upstreams: [{name: a.b, username: u, password: hunter2, password-file: secret}]\n",
     "both password and password-file"},
    {"upstreams:\n- name: a.b\n  username: u\n  password-file: nothing\n",
     ":4:3: upstreams.password-file: cannot read 'nothing': No such file"},
    {"upstreams: [{name: a.b, username: u, password-file: empty}]\n", "'empty' is empty"},
    {"upstreams: [{name: a.b, username: u, password-file: newline}]\n", "'newline' is empty"},
    {"upstreams: [{name: a.b, username: u, password-file: two-lines}]\n", "holds more than one line"},
    {"upstreams: [{name: a.b, username: u, password-file: long}]\n", "'long' is longer than 4096 bytes"},
    {"upstreams: [{name: a.b, username: u, password-file: folder}]\n",
     "cannot read 'folder': Is a directory"},
    {"upstreams: [{name: a.b, ca: nothing}]\n", "upstreams.ca: cannot read 'nothing'"},
    {"upstreams: [{name: a.b, inject: nothing}]\n", "upstreams.inject: cannot read 'nothing'"},
    {"upstreams: [{name: a.b, realms: ['https://x']}]\n",
     "upstreams.realms: 'https://x': a host, without scheme and path"},
    {"upstreams: [{name: a.b, realms: ['x:1']}]\n", "upstreams.realms: 'x:1' is not a host"},
    {"upstreams: [{name: a.b, realms: [{}]}]\n", "expected a host, found a group of members"},
    {"upstreams: [{name: a.b, realms: {}}]\n", "upstreams.realms: expected a list, found a group of members"},
    {"upstreams: [{name: a.b, fresh: x}]\n", "upstreams.fresh: 'x' is not a duration"},
    {"upstreams: [{name: a.b, fresh: 4000d}]\n", "out of range"},
    {"upstreams: [{name: a.b, private: maybe}]\n", "upstreams.private: 'maybe' is neither true nor false"},
    {"default-upstream: lab\n", ":1:1: default-upstream: 'lab' is not one of the upstreams"},
    {"default-upstream: v2\n", "'v2' is a reserved word"},
    /* injection */
    {"inject: nothing.json\n", ":1:1: inject: cannot read 'nothing.json'"},
    {"inject: folder\n", "'folder' is a folder"},
    {"inject:\n", "expected a list of rules, an injection file or none, found nothing"},
    {"inject: {rules: []}\n", ":1:10: inject.rules: unknown member"},
    {"inject: [layer.json]\n",
     ":1:10: inject: a rule is {match: PATTERN, injection: FILE}, found a single value"},
    {"inject: [{}]\n", "the rule has no 'match'"},
    {"inject: [{match: '*'}]\n", "the rule has no 'injection'"},
    {"inject: [{injection: layer.json}]\n", "the rule has no 'match'"},
    {"inject: [{mach: '*'}]\n", "inject.mach: unknown member: did you mean 'match'?"},
    {"inject: [{match: '*', injection: nothing.json}]\n",
     ":1:10: inject.injection: cannot read 'nothing.json'"},
    {"inject: [{match: '*', injection: }]\n", "inject.injection: expected a single value, found nothing"},
    {"inject: [{match: '', injection: none}]\n", "inject.match: the value is empty"},
    {"inject: [{match: 'Quay.io/*', injection: none}]\n", "can match nothing: names are lower case"},
    {"inject: [{match: 'quay.io/a?', injection: none}]\n", "can match nothing: a name has letters"},
    {"inject: [{match: [a], injection: none}]\n", "inject.match: expected a single value, found a list"},
    {"inject.max-layer-size: 2TiB\n", "out of range"},
};

static void test_bad_yaml(void **state)
{
    (void)state;
    static char long_line[5000];
    memset(long_line, 'x', sizeof long_line);
    rig_write("long", long_line, sizeof long_line, 0600);
    for (size_t i = 0; i < sizeof bad_yaml / sizeof bad_yaml[0]; ++i) {
        const struct bad_yaml *c = &bad_yaml[i];
        struct options *o = NULL;
        struct err err = {0};
        rig_write("rac.yaml", c->text, strlen(c->text), 0600);
        if (rig_read(WORDS("--config=rac.yaml"), NULL, &o, &err) == 0)
            fail_msg("was taken: %s", c->text);
        assert_null(o);
        const char *at = strstr(err.msg, c->expected);
        bool from_start = c->expected[0] == ':';
        if (!at || (from_start && (strncmp(err.msg, "rac.yaml", 8) != 0 || at != err.msg + 8)))
            fail_msg("%s\n  expected: %s\n  message:  %s", c->text, c->expected, err.msg);
        if (strstr(err.msg, "hunter2") || strstr(err.msg, "token=abc"))
            fail_msg("a secret in the message: %s", err.msg);
        assert_null(strchr(err.msg, '\n'));
    }
}

struct bad_words {
    const char *arg, *value, *env; /* each may be NULL */
    const char *expected;          /* what the message begins with, up to its length */
};

static const struct bad_words bad_words[] = {
    {"--lisen", "127.0.0.1:1", NULL, "unknown option '--lisen': did you mean --listen?"},
    {"--cache-sise=1GiB", NULL, NULL, "unknown option '--cache-sise': did you mean --cache-size?"},
    {"--hepl", NULL, NULL, "unknown option '--hepl': did you mean --help?"},
    {"--zzzzzzzzzzzzzzz", NULL, NULL, "unknown option '--zzzzzzzzzzzzzzz': see --help"},
    {"-x", NULL, NULL, "unknown option '-x'"},
    {"--", NULL, NULL, "unknown option '--'"},
    {"-", NULL, NULL, "unexpected argument '-'"},
    {"serve", NULL, NULL, "unexpected argument 'serve': options begin with --, see --help"},
    {"--tls-http2", "true", NULL, "unexpected argument 'true'"},
    {"--listen", NULL, NULL, "--listen needs a value: --listen=ADDR:PORT"},
    {"--listen=", NULL, NULL, "--listen needs a value"},
    {"--listen", "--no-inject", NULL, "--listen needs a value"},
    {"--config", NULL, NULL, "--config needs a value: --config=FILE"},
    {"--config", "nothing.yaml", NULL, "--config: cannot read 'nothing.yaml': No such file"},
    {"--config", "folder", NULL, "--config: cannot read 'folder': Is a directory"},
    {"--help=yes", NULL, NULL, "--help takes no value"},
    {"--version", "--check-config", NULL, "--check-config: another option says to do something else"},
    {"--listen", "9090", NULL, "--listen: '9090' has no port"},
    {"--listen", "127.0.0.1:1,127.0.0.1:2", NULL, "--listen: '127.0.0.1:1,127.0.0.1:2': an IPv6 address"},
    {"--cache-size", "big", NULL, "--cache-size: 'big' is not a size"},
    {"--upstream-fresh", "big", NULL, "--upstream-fresh: 'big' is not a duration"},
    {"--workers", "x", NULL, "--workers: 'x' is not a whole number"},
    {"--no-inject=yes", NULL, NULL, "--no-inject: 'yes' is neither true nor false"},
    {"--no-inject=", NULL, NULL, "--no-inject: the value is empty"},
    {"--log-level", "verbose", NULL, "--log-level: 'verbose' is not one of debug, info, warn, error or off"},
    {"--inject", "nothing.json", NULL, "--inject: cannot read 'nothing.json'"},
    {"--tls-key", "key.pem", NULL, "--tls-key: given without tls.certificate"},
    {"--default-upstream", "lab", NULL, "--default-upstream: 'lab' is not one of the upstreams"},
    {"--upstream", "quay.io", NULL, "--upstream: expected NAME=URL, as in quay.io=https://quay.io"},
    {"--upstream", "=https://x", NULL, "--upstream: expected NAME=URL"},
    {"--upstream", "a=", NULL, "--upstream: expected NAME=URL"},
    {"--upstream", "https://u:hunter2@x/?a=b", NULL, "--upstream: expected NAME=URL"},
    {"--upstream", "a=https://u:hunter2@x", NULL, "--upstream: the URL carries credentials"},
    {"--upstream", "wt=https://x", NULL, "--upstream: 'wt' is a reserved word"},
    {"--upstream", "a=x", NULL, "--upstream: 'x' does not begin with https:// or http://"},
    {NULL, NULL, "RAC_LISTEN=127.0.0.1:1,,127.0.0.1:2", "RAC_LISTEN: an address is empty"},
    {NULL, NULL, "RAC_LISTEN=9090", "RAC_LISTEN: '9090' has no port"},
    {NULL, NULL, "RAC_CACHE_SIZE=big", "RAC_CACHE_SIZE: 'big' is not a size"},
    {NULL, NULL, "RAC_TLS_HTTP2=on", "RAC_TLS_HTTP2: 'on' is neither true nor false"},
    {NULL, NULL, "RAC_UPSTREAM=a=http://x,b", "RAC_UPSTREAM: expected NAME=URL"},
    {NULL, NULL, "RAC_UPSTREAM=a=http://x,a=http://y", "RAC_UPSTREAM: upstream 'a' is there twice"},
    {NULL, NULL, "RAC_UPSTREAM=a=https://hunter2@x", "RAC_UPSTREAM: the URL carries credentials"},
    {NULL, NULL, "RAC_CONFIG=nothing.yaml", "--config: cannot read 'nothing.yaml'"},
    {NULL, NULL, "RAC_INJECT=nothing.json", "RAC_INJECT: cannot read 'nothing.json'"},
    {NULL, NULL, "RAC_UPSTREAM_LAB_USERNAME=u",
     "RAC_UPSTREAM_LAB_USERNAME: no upstream of that name is given"},
    {NULL, NULL, "RAC_UPSTREAM_QUAY_IO_USERNAME=u",
     "RAC_UPSTREAM: upstream 'quay.io' has a username without a password"},
    {"--upstream", "quay.io=https://quay.io", "RAC_UPSTREAM_QUAY_IO_USERNAME=u",
     "--upstream: upstream 'quay.io' has a username without a password"},
    {"--upstream", "quay.io=https://quay.io", "RAC_UPSTREAM_QUAY_IO_PASSWORD=hunter2",
     "--upstream: upstream 'quay.io' has a password without a username"},
    {"--upstream", "quay.io=https://quay.io", "RAC_UPSTREAM_QUAY_IO_PASSWORD_FILE=nothing",
     "RAC_UPSTREAM_QUAY_IO_PASSWORD_FILE: cannot read 'nothing'"},
    {"--upstream", "quay.io=https://quay.io",
     "RAC_UPSTREAM_QUAY_IO_USERNAME=", "RAC_UPSTREAM_QUAY_IO_USERNAME: the value is empty"},
    {"--upstream", "quay.io=https://quay.io", "RAC_UPSTREAM_QUAY_IO_USERNAME=a:b",
     "RAC_UPSTREAM_QUAY_IO_USERNAME: a user name has no colon"},
};

static void test_bad_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_words / sizeof bad_words[0]; ++i) {
        const struct bad_words *c = &bad_words[i];
        struct options *o = NULL;
        struct err err = {0};
        if (rig_read(WORDS(c->arg, c->value), WORDS(c->env), &o, &err) == 0)
            fail_msg("was taken: %s %s %s", c->arg, c->value, c->env);
        assert_null(o);
        if (strncmp(err.msg, c->expected, strlen(c->expected)) != 0)
            fail_msg("%s %s %s\n  expected: %s\n  message:  %s", c->arg, c->value, c->env, c->expected,
                     err.msg);
        assert_null(strstr(err.msg, "hunter2"));
    }
}

static void test_both_passwords_in_environment(void **state)
{
    (void)state;
    struct options *o = NULL;
    struct err err = {0};
    assert_int_equal(rig_read(WORDS("--upstream", "a=https://x"),
                              WORDS("RAC_UPSTREAM_A_USERNAME=u", "RAC_UPSTREAM_A_PASSWORD=hunter2",
                                    "RAC_UPSTREAM_A_PASSWORD_FILE=secret"),
                              &o, &err),
                     -1);
    assert_string_equal(err.msg, "RAC_UPSTREAM_A_PASSWORD and RAC_UPSTREAM_A_PASSWORD_FILE are both set");
}

static void test_too_large(void **state)
{
    (void)state;
    struct options *o = NULL;
    struct err err = {0};
    size_t len = ((size_t)1 << 20) + 1;
    cleanup_free char *text = malloc(len);
    memset(text, '\n', len);
    rig_write("rac.yaml", text, len - 1, 0600);
    assert_int_equal(rig_read(WORDS("--config=rac.yaml"), NULL, &o, &err), 0);
    options_free(o);
    rig_write("rac.yaml", text, len, 0600);
    assert_int_equal(rig_read(WORDS("--config=rac.yaml"), NULL, &o, &err), -1);
    assert_int_equal(err.code, ERR_SIZE_INVALID);
    assert_string_equal(err.msg, "rac.yaml: larger than 1 MiB, the limit of a configuration file");
}

static void test_too_many_values(void **state)
{
    (void)state;
    struct options *o = NULL;
    struct err err = {0};
    cleanup_free char *text = malloc(100000);
    memset(text, 0, 100000);
    memcpy(text, "listen: [", 9);
    for (size_t i = 0; i < 30000; ++i)
        memcpy(text + 9 + 2 * i, "a,", 2);
    memcpy(text + 9 + 60000, "a]\n", 3);
    rig_write("rac.yaml", text, strlen(text), 0600);
    assert_int_equal(rig_read(WORDS("--config=rac.yaml"), NULL, &o, &err), -1);
    assert_non_null(strstr(err.msg, "too many values"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_yaml),        cmocka_unit_test(test_bad_words),
        cmocka_unit_test(test_too_large),       cmocka_unit_test(test_both_passwords_in_environment),
        cmocka_unit_test(test_too_many_values),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
