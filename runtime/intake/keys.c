/* keys.c - one detached signature against each key of a directory. */
#include "intake/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "intake/trust.h"
#include "wire/error.h"
#include "wire/signature.h"

enum { PATH_SIZE = 4096 };

/* A small file's text; false when it cannot be read or is larger than any of ours. */
static bool read_text(int fd, char text[SIGNATURE_FILE_BYTES_MAX], uint64_t *ret_size)
{
    ssize_t n = read(fd, text, SIGNATURE_FILE_BYTES_MAX);
    *ret_size = n > 0 ? (uint64_t)n : 0;
    return n > 0 && n < SIGNATURE_FILE_BYTES_MAX;
}

aiki_status keys_read_signature(const char *path, struct build_signature *ret, aiki_error *err)
{
    char sig_path[PATH_SIZE], text[SIGNATURE_FILE_BYTES_MAX];
    uint64_t size = 0;
    (void)snprintf(sig_path, sizeof(sig_path), "%s.sig", path); /* cut: then it is not found */
    AUTO(close_fd) int fd = open(sig_path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    ret->known = false;
    if (fd < 0)
        return error_code(err, AIKI_DENIED, "UNSIGNED",
                          "no signature %.120s: %s; sign it with aiki plugins sign", sig_path,
                          strerror(errno));
    ret->known = read_text(fd, text, &size) &&
                 signature_read_text((aiki_view){(const uint8_t *)text, size}, ret->bytes,
                                     SIGNATURE_BYTES);
    if (ret->known)
        return AIKI_OK;
    return error_code(err, AIKI_DENIED, "BAD_SIGNATURE",
                      "%.160s is not one line of base64 with 64 bytes; sign the plugin again", sig_path);
}

static aiki_status unusable(const char *path, const char *why, aiki_error *err)
{
    return error_code(err, AIKI_DENIED, "KEYS_UNUSABLE",
                      "%.100s: %.100s; no plugin is let in before that is mended", path, why);
}

static aiki_status read_key(const char *path, uint8_t ret[SIGNATURE_PUBLIC_BYTES], aiki_error *err)
{
    char text[SIGNATURE_FILE_BYTES_MAX];
    AUTO(close_fd) int fd = -1;
    struct stat s;
    uint64_t size = 0;
    aiki_error doubt, inner = AIKI_ERROR_INIT;
    if (trust_open(path, &fd, &s, &doubt, &inner) != AIKI_OK)
        return unusable(path, inner.message, err);
    if (doubt.status != AIKI_OK)
        return unusable(path, doubt.message, err);
    if (!read_text(fd, text, &size) ||
        !signature_read_text((aiki_view){(const uint8_t *)text, size}, ret, SIGNATURE_PUBLIC_BYTES))
        return unusable(path, "not one line of base64 with 32 bytes", err);
    return AIKI_OK;
}

static bool is_key_name(const char *name)
{
    size_t n = strlen(name);
    return name[0] != '.' && n > 4 && strcmp(name + n - 4, ".pub") == 0;
}

/* AIKI_OK: by this one. AIKI_PENDING: by none of them. */
static aiki_status try_each(DIR *d, const char *keys_dir, const uint8_t signature[SIGNATURE_BYTES],
                            aiki_view bytes, unsigned *ret_count, aiki_error *err)
{
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[PATH_SIZE];
        uint8_t key[SIGNATURE_PUBLIC_BYTES];
        if (!is_key_name(e->d_name))
            continue;
        if (++*ret_count > KEYS_MAX ||
            snprintf(path, sizeof(path), "%s/%s", keys_dir, e->d_name) >= (int)sizeof(path))
            return unusable(keys_dir, "over KEYS_MAX (64) keys", err);
        aiki_status st = read_key(path, key, err);
        if (st != AIKI_OK)
            return st;
        if (signature_is_valid(signature, bytes, key))
            return AIKI_OK;
    }
    return AIKI_PENDING;
}

aiki_status keys_check(const char *keys_dir, const struct build_signature *signature, aiki_view bytes,
                       aiki_error *err)
{
    unsigned count = 0;
    aiki_error inner = AIKI_ERROR_INIT;
    if (trust_directory(keys_dir, &inner) != AIKI_OK)
        return unusable(keys_dir, inner.message, err);
    if (!signature->known)
        return error_code(err, AIKI_DENIED, "UNSIGNED",
                          "it came without a signature; sign it with aiki plugins sign");
    DIR *d = opendir(keys_dir);
    if (d == NULL)
        return unusable(keys_dir, strerror(errno), err);
    aiki_status st = try_each(d, keys_dir, signature->bytes, bytes, &count, err);
    closedir(d);
    if (st != AIKI_PENDING)
        return st;
    return error_code(err, AIKI_DENIED, "BAD_SIGNATURE",
                      "its signature is of other bytes, or by none of the %u keys in %.100s; sign it "
                      "again with one of them",
                      count, keys_dir);
}

aiki_status keys_check_copy(const char *keys_dir, const char *copy,
                            const struct build_signature *signature, aiki_error *err)
{
    struct stat about;
    AUTO(close_fd) int fd = open(copy, O_RDONLY | O_CLOEXEC);
    void *map = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &about) == 0 && about.st_size > 0)
        map = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return error_set(err, AIKI_UNAVAILABLE, "the copy %s cannot be read", copy);
    aiki_view bytes = {map, (uint64_t)about.st_size};
    aiki_status st = keys_check(keys_dir, signature, bytes, err);
    (void)munmap(map, (size_t)about.st_size); /* mapped above */
    return st;
}
