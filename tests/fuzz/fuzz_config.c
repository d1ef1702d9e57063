/* fuzz_config.c - settings from a file or a command line: typed values in range, or a reason.
 *
 * First byte: 0 the rest is a settings file, 1 words of a command line, one a line. */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/config.h"

enum { WORDS_MAX = 64, NUMBER_MIN = -5, NUMBER_MAX = 70000 };

static const struct config_key keys[] = {
    {"listen", CONFIG_TEXT, "127.0.0.1:0", 0, 0, "where to listen"},
    {"lease-ms", CONFIG_INT, "5000", NUMBER_MIN, NUMBER_MAX, "how long a lease lasts"},
    {"verbose", CONFIG_FLAG, NULL, 0, 0, "say more"},
};

static void load(int argc, char *const argv[])
{
    struct config *c = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    if (config_load(&c, keys, sizeof(keys) / sizeof(keys[0]), argc, argv, &err) != AIKI_OK) {
        CHECK(c == NULL && err.message[0] != '\0');
        return;
    }
    int64_t number = config_int(c, "lease-ms");
    CHECK(number >= NUMBER_MIN && number <= NUMBER_MAX);
    CHECK(config_text(c, "listen") != NULL && config_origin(c, "verbose")[0] != '\0');
    for (int i = 0; i < config_positional_count(c); i++)
        CHECK(config_positional(c, i) != NULL);
    config_destroy(c);
}

static void from_file(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("settings", MFD_CLOEXEC);
        CHECK(fd >= 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    char *const argv[] = {"fuzz", "--config", path};
    load(3, argv);
}

static void from_words(const uint8_t *data, size_t size)
{
    char *argv[WORDS_MAX + 1] = {"fuzz"};
    char *text = malloc(size + 1), *rest = text, *word;
    int argc = 1;
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    while (argc <= WORDS_MAX && (word = strsep(&rest, "\n")) != NULL)
        if (strncmp(word, "--config", 8) != 0) /* would open files by made-up names */
            argv[argc++] = word;
    load(argc, argv);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > FUZZ_INPUT_BYTES_MAX)
        return 0;
    if (data[0] % 2 == 0)
        from_file(data + 1, size - 1);
    else
        from_words(data + 1, size - 1);
    return 0;
}
