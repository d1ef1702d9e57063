/* token_file.h - a file of tokens for a test, in a folder of its own. */
#ifndef TESTS_TOKEN_FILE_H
#define TESTS_TOKEN_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANY_TOKEN "any-token-0123456789"
#define CLIENT_TOKEN "client-token-0123456789"
#define RUNTIME_TOKEN "runtime-token-0123456789"
#define TOKEN_LINES                                                                          \
    "# who may connect\n\n" ANY_TOKEN "\n  " CLIENT_TOKEN "\tclient web\r\n" RUNTIME_TOKEN     \
    " runtime host-7"

struct token_file {
    char folder[64], path[80];
};

static inline void token_file_write(const struct token_file *f, const char *text)
{
    FILE *file = fopen(f->path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(f->path, 0600), 0);
}

static inline void token_file_init(struct token_file *f, const char *text)
{
    strcpy(f->folder, "/tmp/aiki-test-tokens-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/tokens", f->folder);
    token_file_write(f, text);
}

static inline void token_file_deinit(const struct token_file *f)
{
    (void)unlink(f->path);
    assert_int_equal(rmdir(f->folder), 0);
}

#endif
