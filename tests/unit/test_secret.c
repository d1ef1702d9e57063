/* test_secret.c - files of credentials: what is taken, and what is refused without quoting it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/secret.h"
#include "support/token_file.h"
#include "wire/error.h"

/* The first token counts, wherever it stands, and nothing of its line but the first word. */
static void first_token(void **state)
{
    (void)state;
    static const char *const texts[] = {ANY_TOKEN, ANY_TOKEN "\n", "# c\n\n \t" ANY_TOKEN "\r\nmore\n",
                                        ANY_TOKEN " client web\n" CLIENT_TOKEN "\n"};
    char token[TOKEN_SIZE];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct token_file f;
        token_file_init(&f, texts[i]);
        assert_int_equal(token_read(f.path, token, NULL), AIKI_OK);
        assert_string_equal(token, ANY_TOKEN);
        token_file_deinit(&f);
    }
}

/* No token, a short or strange one: refused, and the message does not repeat it. */
static void no_token(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# only a comment", "too-short",
                                        "sixteen-bytes-or\x01more"};
    char token[TOKEN_SIZE];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct token_file f;
        aiki_error err = AIKI_ERROR_INIT;
        token_file_init(&f, texts[i]);
        assert_int_equal(token_read(f.path, token, &err), AIKI_INVALID);
        assert_non_null(strstr(err.message, f.path));
        assert_null(strstr(err.message, "too-short"));
        token_file_deinit(&f);
    }
}

/* Open to others, a folder, absent: named with the remedy. */
static void wrong_files(void **state)
{
    (void)state;
    static const mode_t wrong[] = {0604, 0602, 0601, 0620, 0666};
    struct token_file f;
    char token[TOKEN_SIZE];
    aiki_error err = AIKI_ERROR_INIT;
    token_file_init(&f, ANY_TOKEN);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(chmod(f.path, wrong[i]), 0);
        assert_int_equal(token_read(f.path, token, &err), AIKI_INVALID);
        assert_non_null(strstr(err.message, "chmod 600"));
    }
    assert_int_equal(chmod(f.path, 0640), 0);
    assert_int_equal(token_read(f.path, token, &err), AIKI_OK);
    assert_int_equal(token_read(f.folder, token, &err), AIKI_INVALID);
    token_file_deinit(&f);
    assert_int_equal(token_read(f.path, token, &err), AIKI_INVALID);
    assert_non_null(strstr(err.message, "No such file"));
}

/* An argument wins over a file, and with neither there is no token. */
static void which_one(void **state)
{
    (void)state;
    struct token_file f;
    char token[TOKEN_SIZE];
    token_file_init(&f, ANY_TOKEN);
    assert_int_equal(token_find(CLIENT_TOKEN, f.path, token, NULL), AIKI_OK);
    assert_string_equal(token, CLIENT_TOKEN);
    assert_int_equal(token_find("", f.path, token, NULL), AIKI_OK);
    assert_string_equal(token, ANY_TOKEN);
    assert_int_equal(token_find(NULL, "", token, NULL), AIKI_OK);
    assert_string_equal(token, "");
    token_file_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_token),
        cmocka_unit_test(no_token),
        cmocka_unit_test(wrong_files),
        cmocka_unit_test(which_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
