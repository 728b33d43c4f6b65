// SPDX-License-Identifier: Apache-2.0
#include "proxy/app_secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "proxy/access/password.h"

#define LINE_MAX_BYTES 1024

/* Up to the line's end, which is not kept. Byte by byte: nothing of what follows is taken, nor left behind in
 * a buffer of stdio. */
static int read_line(int fd, char out[LINE_MAX_BYTES], struct err *err)
{
    size_t len = 0;
    for (;;) {
        char c;
        ssize_t n = read(fd, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(err, ERR_IO, errno, "cannot read the password");
        if (n == 0 || c == '\n')
            break;
        if (len + 1 >= LINE_MAX_BYTES || c == '\0')
            return err_set(err, ERR_INVALID, "that is no password: too long, or not text");
        out[len++] = c;
    }
    if (len && out[len - 1] == '\r')
        --len;
    out[len] = '\0';
    return 0;
}

static int ask(int terminal, const char *prompt, char out[LINE_MAX_BYTES], struct err *err)
{
    struct termios old, quiet;
    sigset_t stops, before;
    if (tcgetattr(terminal, &old) < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot read the terminal's settings");
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    quiet.c_lflag |= ECHONL;
    /* Nobody is left with a terminal that echoes nothing: an interrupt waits until the echo is back. */
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGTSTP);
    quiet.c_lflag &= ~(tcflag_t)ISIG;
    (void)sigprocmask(SIG_BLOCK, &stops, &before);
    (void)dprintf(terminal, "%s", prompt);
    int rc = tcsetattr(terminal, TCSAFLUSH, &quiet) < 0
                 ? err_set_errno(err, ERR_IO, errno, "cannot silence the terminal")
                 : read_line(terminal, out, err);
    (void)tcsetattr(terminal, TCSAFLUSH, &old);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int ask_twice(char out[LINE_MAX_BYTES], struct err *err)
{
    char again[LINE_MAX_BYTES];
    cleanup_close int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (terminal < 0)
        return err_set_errno(err, ERR_IO, errno, "cannot open the terminal");
    if (ask(terminal, "Password: ", out, err) < 0 || ask(terminal, "Again: ", again, err) < 0)
        return -1;
    bool same = strcmp(out, again) == 0;
    OPENSSL_cleanse(again, sizeof again);
    return same ? 0 : err_set(err, ERR_INVALID, "the two are not the same");
}

int app_hash_password(struct err *err)
{
    char password[LINE_MAX_BYTES], hash[PASSWORD_HASH_MAX];
    int rc = isatty(STDIN_FILENO) ? ask_twice(password, err) : read_line(STDIN_FILENO, password, err);
    if (rc == 0)
        rc = password_hash(slice_of(password), hash, err);
    OPENSSL_cleanse(password, sizeof password);
    if (rc < 0)
        return -1;
    (void)printf("%s\n", hash);
    if (isatty(STDOUT_FILENO))
        (void)fprintf(stderr,
                      "Into the configuration file:\n  accounts:\n    - {name: NAME, password-hash: "
                      "'%s', roles: [pull]}\n",
                      hash);
    return 0;
}

int app_make_key(struct err *err)
{
    char key[KEY_TEXT_MAX], digest[KEY_HEX_MAX];
    if (key_make(key, digest, err) < 0)
        return -1;
    (void)printf("%s\nsha256:%s\n", key, digest);
    if (isatty(STDOUT_FILENO))
        (void)fprintf(stderr,
                      "The first line is the key: for the client, shown this once. The second one goes into "
                      "the configuration file:\n  accounts:\n    - {name: NAME, keys: [sha256:%s], roles: "
                      "[pull]}\n",
                      digest);
    OPENSSL_cleanse(key, sizeof key);
    return 0;
}
