// SPDX-License-Identifier: Apache-2.0
#ifndef RAC_TESTS_FAULTS_IO_FAULTS_H
#define RAC_TESTS_FAULTS_IO_FAULTS_H
/*
 * System calls that fail when a test says so. io_faults.so is LD_PRELOADed into a program; the file that
 * IO_FAULTS names is mapped by it and by the test (tests/rig/faults.py), which arms rules there and disarms
 * them while the program runs. Calls of the libraries (SQLite, libcurl, h2o, jansson, OpenSSL) are met too;
 * what libc does inside itself (getaddrinfo's sockets, stdio's writes) is not.
 *
 * A rule is about the calls that it names, on paths that contain `match` (of a descriptor: what it is open
 * on, "socket:[…]" for sockets; of malloc: the name of a library's function that called it, directly or
 * through others). It counts them from 1; those from `first` on, `times` of them, do what `error` says: -1
 * with that errno, or for 0 (reads and writes) only half of what was asked for. With times = 0 it only
 * counts.
 *
 * The layout is known to tests/rig/faults.py: all little-endian, no gaps.
 */
#include <stdatomic.h>
#include <stdint.h>

#define IO_FAULTS_RULES 8
#define IO_FAULTS_TRACE 24

struct io_fault {
    _Atomic uint32_t armed;     /* written last by the test, and first when it changes anything */
    int32_t error;              /* errno, 0: a short transfer */
    uint64_t first, times;      /* which of the calls that match */
    _Atomic uint64_t seen, hit; /* calls that matched, calls that failed */
    char calls[128];            /* ",write,pwrite,": names without the 64 that some have behind them */
    char match[128];            /* "": any path, and what has none */
    char last[256];             /* the first that failed: "pwrite /data/state.db", "malloc sqlite3_prepare" */
    uint64_t trace[IO_FAULTS_TRACE]; /* who called it: offsets in the program, 0 for other objects */
};

struct io_faults {
    _Atomic int64_t wall_shift_ns; /* added to CLOCK_REALTIME, time() and gettimeofday() */
    struct io_fault rules[IO_FAULTS_RULES];
};
#endif
