/* cmd_sign.c - `aiki plugins keygen | sign`: keys, and signatures that a runtime with plugin-keys asks for. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "commands.h"
#include "text.h"
#include "wire/error.h"
#include "wire/signature.h"

static aiki_status cannot(const char *what, const char *path, aiki_error *err)
{
    return error_set(err, AIKI_INVALID, "cannot %s %s: %s", what, path, strerror(errno));
}

static aiki_status write_line(const char *path, const char *text, int flags, mode_t mode,
                              aiki_error *err)
{
    size_t size = strlen(text);
    AUTO(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, mode);
    errno = fd < 0 ? errno : ENOSPC; /* what a write that is cut short means */
    if (fd < 0 || write(fd, text, size) != (ssize_t)size)
        return cannot("write", path, err);
    return AIKI_OK;
}

/* Never over files that are there: a key that was overwritten is lost. */
static aiki_status make_keys(const char *name, aiki_error *err)
{
    char path[CLI_PATH_SIZE], text[SIGNATURE_TEXT_SIZE];
    uint8_t public_key[SIGNATURE_PUBLIC_BYTES], secret[SIGNATURE_SECRET_BYTES];
    if (snprintf(path, sizeof(path), "%s.key", name) >= (int)sizeof(path))
        return error_set(err, AIKI_INVALID, "the path %.60s... is too long", name);
    signature_make_keys(public_key, secret);
    signature_write_text(secret, sizeof(secret), text);
    aiki_status st = write_line(path, text, O_EXCL, 0600, err);
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(text, sizeof(text));
    if (st != AIKI_OK)
        return st;
    (void)snprintf(path, sizeof(path), "%s.pub", name);
    signature_write_text(public_key, sizeof(public_key), text);
    return write_line(path, text, O_EXCL, 0644, err);
}

/* A path may hold anything, so it is not put between quotation marks as it is. */
static int print_paths(struct cli *cli, const char *const *names, const char *const *paths, unsigned count)
{
    AUTO(buf) aiki_writer map;
    buf_init(&map);
    aiki_mp_map(&map, count);
    for (unsigned i = 0; i < count; i++) {
        aiki_mp_str(&map, names[i]);
        aiki_mp_str(&map, paths[i]);
    }
    aiki_status st = print_json(aiki_writer_view(&map), 0, &cli->err);
    return st == AIKI_OK ? EXIT_OK : cli_fail(cli, st, &cli->err);
}

static int run_keygen(struct cli *cli)
{
    char key[CLI_PATH_SIZE], public_key[CLI_PATH_SIZE];
    const char *name = cli->args.operands[0];
    aiki_status st = make_keys(name, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    (void)snprintf(key, sizeof(key), "%s.key", name); /* make_keys has looked at its length */
    (void)snprintf(public_key, sizeof(public_key), "%s.pub", name);
    if (cli->json)
        return print_paths(cli, (const char *[]){"key", "public"}, (const char *[]){key, public_key}, 2);
    printf("%s signs: keep it secret\n%s goes into the directory that plugin-keys names\n", key,
           public_key);
    return EXIT_OK;
}

static aiki_status read_secret(const char *path, uint8_t ret[SIGNATURE_SECRET_BYTES],
                               aiki_error *err)
{
    char text[SIGNATURE_FILE_BYTES_MAX];
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    if (n < 0)
        return cannot("read", path, err);
    bool ok = signature_read_text((aiki_view){(const uint8_t *)text, (uint64_t)n}, ret,
                                  SIGNATURE_SECRET_BYTES);
    explicit_bzero(text, sizeof(text));
    return ok ? AIKI_OK
              : error_set(err, AIKI_INVALID, "%s is no key of aiki plugins keygen", path);
}

static aiki_status sign(const char *path, const uint8_t secret[SIGNATURE_SECRET_BYTES],
                        char ret_text[SIGNATURE_TEXT_SIZE], aiki_error *err)
{
    uint8_t signature[SIGNATURE_BYTES];
    struct stat s;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s) != 0)
        return cannot("read", path, err);
    if (!S_ISREG(s.st_mode) || s.st_size == 0)
        return error_set(err, AIKI_INVALID, "%s is no plugin: not a regular file, or empty", path);
    void *map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return cannot("read", path, err);
    signature_sign(signature, (aiki_view){map, (uint64_t)s.st_size}, secret);
    munmap(map, (size_t)s.st_size);
    signature_write_text(signature, sizeof(signature), ret_text);
    return AIKI_OK;
}

/* Written aside and renamed: a runtime may be looking. */
static aiki_status put_signature(const char *path, const char *text, char target[CLI_PATH_SIZE],
                                 aiki_error *err)
{
    char aside[CLI_PATH_SIZE];
    if (snprintf(target, CLI_PATH_SIZE, "%s.sig", path) >= CLI_PATH_SIZE ||
        snprintf(aside, sizeof(aside), "%s.sig.new", path) >= (int)sizeof(aside))
        return error_set(err, AIKI_INVALID, "the path %.60s... is too long", path);
    aiki_status st = write_line(aside, text, O_TRUNC, 0644, err);
    if (st == AIKI_OK && rename(aside, target) != 0)
        st = cannot("write", target, err);
    return st;
}

static int run_sign(struct cli *cli)
{
    uint8_t secret[SIGNATURE_SECRET_BYTES];
    char text[SIGNATURE_TEXT_SIZE], target[CLI_PATH_SIZE];
    const char *file = cli->args.operands[0], *key = args_text(&cli->args, "key");
    if (key == NULL)
        return cli_fail(cli, error_set(&cli->err, AIKI_INVALID, "--key NAME.key is needed"), &cli->err);
    aiki_status st = read_secret(key, secret, &cli->err);
    if (st == AIKI_OK)
        st = sign(file, secret, text, &cli->err);
    explicit_bzero(secret, sizeof(secret));
    if (st == AIKI_OK)
        st = put_signature(file, text, target, &cli->err);
    if (st != AIKI_OK)
        return cli_fail(cli, st, &cli->err);
    if (cli->json)
        return print_paths(cli, (const char *[]){"signature"}, (const char *[]){target}, 1);
    printf("%s\n", target);
    return EXIT_OK;
}

/* clang-format off */
static const struct arg sign_args[] = {
    {ARG_TEXT, "key", "NAME.key", .help = "the secret key, from aiki plugins keygen"},
    {.type = ARG_END}};
const struct command cmd_plugins_keygen = {
    .group = "plugins", .name = "keygen", .operands = "NAME", .operand_min = 1, .operand_max = 1,
    .is_local = true, .summary = "a pair of keys to sign plugins with: NAME.key and NAME.pub",
    .examples = "aiki plugins keygen ./release", .run = run_keygen};
const struct command cmd_plugins_sign = {
    .group = "plugins", .name = "sign", .operands = "FILE", .operand_min = 1, .operand_max = 1,
    .is_local = true, .args = sign_args, .summary = "sign a plugin: writes FILE.sig beside it",
    .examples = "aiki plugins sign ./hello.so --key ./release.key", .run = run_sign};
/* clang-format on */
