/* test_tokens.c - the list of accepted tokens: roles, bad files, reading it again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/secret.h"
#include "support/token_file.h"
#include "tokens.h"
#include "wire/error.h"

enum { BOTH = TOKEN_CLIENT | TOKEN_RUNTIME };

static int setup(void **state)
{
    static struct token_file f;
    assert_true(sodium_init() >= 0);
    log_init("test", LOG_ERROR + 1);
    token_file_init(&f, TOKEN_LINES);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    token_file_deinit(*state);
    return 0;
}

static aiki_status check(struct tokens *t, const char *token, unsigned role, aiki_error *err)
{
    return tokens_check(t, view_of(token), role, "a test", NULL, err);
}

/* Each token is for its role; all else is denied with the same words. */
static void roles(void **state)
{
    const struct token_file *f = *state;
    struct tokens *t = NULL;
    assert_int_equal(tokens_open(&t, f->path, NULL), AIKI_OK);
    for (unsigned role = TOKEN_CLIENT; role <= TOKEN_RUNTIME; role++) {
        const char *own = role == TOKEN_CLIENT ? CLIENT_TOKEN : RUNTIME_TOKEN;
        const char *wrong[] = {role == TOKEN_CLIENT ? RUNTIME_TOKEN : CLIENT_TOKEN, "", "web",
                               ANY_TOKEN "0", "any-token-012345678", "#"};
        assert_int_equal(check(t, ANY_TOKEN, role, NULL), AIKI_OK);
        assert_int_equal(check(t, own, role, NULL), AIKI_OK);
        char first[AIKI_MESSAGE_SIZE] = "";
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
            aiki_error err = AIKI_ERROR_INIT;
            assert_int_equal(check(t, wrong[i], role, &err), AIKI_DENIED);
            assert_string_equal(err.code, "TOKEN_REFUSED");
            if (i == 0)
                strcpy(first, err.message);
            assert_string_equal(err.message, first);
        }
    }
    assert_int_equal(tokens_refused(t), 12);
    tokens_close(t);
}

/* Without a list everybody is let in. */
static void no_list(void **state)
{
    (void)state;
    const struct token_id id = {{0}};
    assert_int_equal(check(NULL, "", TOKEN_CLIENT, NULL), AIKI_OK);
    assert_true(tokens_has(NULL, &id, BOTH));
}

/* A file that cannot be right is refused, naming the line and never the token. */
static void bad_files(void **state)
{
    const struct token_file *f = *state;
    static const struct {
        const char *text, *where;
    } bad[] = {{"", "no token"},
               {"# nobody\n", "no token"},
               {"short\n", ":1"},
               {"\n" ANY_TOKEN " king\n", ":2"},
               {ANY_TOKEN " any name more\n", ":1"},
               {ANY_TOKEN "\n" ANY_TOKEN " client\n", ":2"},
               {ANY_TOKEN "\nt\xc3\xb6ken-0123456789\n", ":2"}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tokens *t = NULL;
        aiki_error err = AIKI_ERROR_INIT;
        token_file_write(f, bad[i].text);
        assert_int_equal(tokens_open(&t, f->path, &err), AIKI_INVALID);
        assert_null(t);
        assert_non_null(strstr(err.message, bad[i].where));
        assert_null(strstr(err.message, ANY_TOKEN));
    }
}

/* More than TOKENS_MAX are refused. */
static void too_many(void **state)
{
    const struct token_file *f = *state;
    aiki_writer w;
    buf_init(&w);
    for (unsigned i = 0; i <= TOKENS_MAX; i++) {
        char line[64];
        int n = snprintf(line, sizeof(line), "token-number-%08u\n", i);
        aiki_mp_raw(&w, line, (uint64_t)n);
    }
    aiki_mp_raw(&w, "", 1);
    struct tokens *t = NULL;
    token_file_write(f, (const char *)w.data);
    assert_int_equal(tokens_open(&t, f->path, NULL), AIKI_LIMIT);
    *strstr((char *)w.data, "token-number-00001000") = '\0';
    token_file_write(f, (const char *)w.data);
    assert_int_equal(tokens_open(&t, f->path, NULL), AIKI_OK);
    assert_int_equal(check(t, "token-number-00000999", BOTH, NULL), AIKI_OK);
    tokens_close(t);
    buf_deinit(&w);
}

/* A new file counts from the reload on; a bad one changes nothing. */
static void reload(void **state)
{
    const struct token_file *f = *state;
    struct tokens *t = NULL;
    struct token_id any, client;
    assert_int_equal(tokens_open(&t, f->path, NULL), AIKI_OK);
    assert_int_equal(tokens_check(t, view_of(ANY_TOKEN), TOKEN_RUNTIME, "me", &any, NULL), AIKI_OK);
    assert_int_equal(tokens_check(t, view_of(CLIENT_TOKEN), TOKEN_CLIENT, "me", &client, NULL),
                     AIKI_OK);
    token_file_write(f, "bad\n");
    assert_int_equal(tokens_reload(t, NULL), AIKI_INVALID);
    assert_true(tokens_has(t, &any, TOKEN_RUNTIME) && tokens_has(t, &client, TOKEN_CLIENT));
    token_file_write(f, ANY_TOKEN " client\nanother-token-0123\n");
    assert_int_equal(tokens_reload(t, NULL), AIKI_OK);
    assert_false(tokens_has(t, &any, TOKEN_RUNTIME) || tokens_has(t, &client, TOKEN_CLIENT));
    assert_true(tokens_has(t, &any, TOKEN_CLIENT));
    assert_int_equal(check(t, "another-token-0123", TOKEN_RUNTIME, NULL), AIKI_OK);
    tokens_close(t);
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(roles), CASE(no_list), CASE(bad_files), CASE(too_many), CASE(reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
