/* secret.c - see secret.h. */
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "wire/error.h"

void secret_free(char *text, size_t size)
{
    explicit_bzero(text, size);
    free(text);
}

static aiki_status check_file(const char *path, const struct stat *st, aiki_error *err)
{
    if (!S_ISREG(st->st_mode))
        return error_set(err, AIKI_INVALID, "%.150s is no regular file", path);
    if ((st->st_mode & (S_IRWXO | S_IWGRP)) != 0)
        return error_set(err, AIKI_INVALID,
                         "%.120s has mode %04o: others can get at the tokens in it; chmod 600 it, "
                         "or 640",
                         path, (unsigned)(st->st_mode & 07777));
    if (st->st_size > SECRET_FILE_BYTES_MAX)
        return error_set(err, AIKI_LIMIT, "%.150s is over SECRET_FILE_BYTES_MAX, %d bytes", path,
                         SECRET_FILE_BYTES_MAX);
    return AIKI_OK;
}

aiki_status secret_read(const char *path, char **ret_text, size_t *ret_size, aiki_error *err)
{
    struct stat st;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO is refused */
    if (fd < 0 || fstat(fd, &st) != 0)
        return error_set(err, AIKI_INVALID, "%.150s: %s", path, strerror(errno));
    aiki_status status = check_file(path, &st, err);
    if (status != AIKI_OK)
        return status;

    size_t size = (size_t)st.st_size, have = 0;
    char *text = calloc(1, size + 1);
    if (text == NULL)
        return error_set(err, AIKI_NOMEM, "%.150s", path);
    for (ssize_t n = 1; n > 0 && have < size; have += n > 0 ? (size_t)n : 0) {
        n = read(fd, text + have, size - have);
        if (n < 0)
            status = error_set(err, AIKI_INVALID, "%.150s: %s", path, strerror(errno));
    }
    if (status == AIKI_OK && strlen(text) != have)
        status = error_set(err, AIKI_INVALID, "%.150s is no text", path);
    if (status != AIKI_OK) {
        secret_free(text, size);
        return status;
    }
    *ret_text = text;
    *ret_size = have;
    return AIKI_OK;
}

aiki_status token_check(const char *token, const char *where, aiki_error *err)
{
    size_t size = strlen(token);
    for (const char *c = token; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~')
            return error_set(err, AIKI_INVALID,
                             "%.150s: a token consists of printable characters, without spaces",
                             where);
    if (size < TOKEN_BYTES_MIN || size > TOKEN_BYTES_MAX)
        return error_set(err, AIKI_INVALID, "%.150s: a token has %d to %d characters, this one %zu",
                         where, TOKEN_BYTES_MIN, TOKEN_BYTES_MAX, size);
    return AIKI_OK;
}

aiki_status token_read(const char *path, char ret_token[TOKEN_SIZE], aiki_error *err)
{
    char *text = NULL;
    size_t size;
    aiki_status status = secret_read(path, &text, &size, err);
    if (status != AIKI_OK)
        return status;
    char *rest = text, *line;
    do {
        line = strsep(&rest, "\n");
        line += line != NULL ? strspn(line, " \t\r") : 0;
    } while (line != NULL && (*line == '\0' || *line == '#'));
    if (line == NULL) {
        status = error_set(err, AIKI_INVALID, "%.150s: there is no token in it", path);
    } else {
        line[strcspn(line, " \t\r")] = '\0';
        status = token_check(line, path, err);
        if (status == AIKI_OK)
            memcpy(ret_token, line, strlen(line) + 1);
    }
    secret_free(text, size);
    return status;
}

aiki_status token_find(const char *token, const char *path, char ret_token[TOKEN_SIZE],
                       aiki_error *err)
{
    ret_token[0] = '\0';
    if (token != NULL && token[0] != '\0') {
        if (strlen(token) > TOKEN_BYTES_MAX)
            return error_set(err, AIKI_LIMIT, "the token is over TOKEN_BYTES_MAX, %d",
                             TOKEN_BYTES_MAX);
        memcpy(ret_token, token, strlen(token) + 1);
        return AIKI_OK;
    }
    return path != NULL && path[0] != '\0' ? token_read(path, ret_token, err) : AIKI_OK;
}
