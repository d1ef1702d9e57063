/* note.c - see note.h. */
#include "intake/note.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fault.h"
#include "wire/descriptor.h"
#include "wire/hash.h"

#define NOTE_NAME ".probed"

enum { NOTE_FORMAT = 1, NOTE_FIELDS = 6, SEAL_BYTES = 32 };

/* Which file the probe is: that of another release may ask for more. False: nobody knows. */
static bool write_program(aiki_writer *w, const char *program)
{
    struct stat s;
    if (stat(program, &s) != 0)
        return false;
    aiki_mp_array(w, 4);
    aiki_mp_uint(w, (uint64_t)s.st_ino);
    aiki_mp_uint(w, (uint64_t)s.st_size);
    aiki_mp_int(w, s.st_mtim.tv_sec);
    aiki_mp_int(w, s.st_mtim.tv_nsec);
    return true;
}

/* All that has to be the same, byte by byte. */
static bool write_head(aiki_writer *w, const char *program, const uint8_t build[BUILD_BYTES], aiki_view sandbox)
{
    aiki_mp_array(w, NOTE_FIELDS);
    aiki_mp_uint(w, NOTE_FORMAT);
    if (!write_program(w, program))
        return false;
    aiki_mp_bin(w, build, BUILD_BYTES);
    aiki_mp_strn(w, (const char *)sandbox.data, sandbox.size_bytes);
    return w->status == AIKI_OK;
}

static bool note_path(const char *directory, const char *tail, char ret[CACHE_PATH_SIZE])
{
    errno = ENAMETOOLONG;
    return snprintf(ret, CACHE_PATH_SIZE, "%s/" NOTE_NAME "%s", directory, tail) < CACHE_PATH_SIZE;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* Ours, and nobody else could have written it. */
static bool is_trusted(int fd, uint64_t *ret_size)
{
    struct stat s;
    if (fd < 0 || fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_uid != geteuid() ||
        (s.st_mode & (S_IWGRP | S_IWOTH)) != 0 || s.st_size <= SEAL_BYTES || s.st_size > NOTE_BYTES_MAX)
        return false;
    *ret_size = (uint64_t)s.st_size;
    return true;
}

static bool read_all(int fd, uint64_t size, aiki_writer *to)
{
    char chunk[4096];
    ssize_t n;
    while (to->size_bytes <= size && (n = read(fd, chunk, sizeof(chunk))) != 0) {
        if (n > 0)
            aiki_mp_raw(to, chunk, (uint64_t)n);
        else if (errno != EINTR)
            return false;
    }
    return to->status == AIKI_OK && to->size_bytes == size;
}

/* The hash at its end is that of what is before it; then the latter is in *ret. */
static bool is_whole(aiki_view bytes, aiki_view *ret)
{
    uint8_t hash[SEAL_BYTES];
    *ret = (aiki_view){bytes.data, bytes.size_bytes - SEAL_BYTES};
    hash_parts(hash, ret, 1);
    return memcmp(hash, bytes.data + ret->size_bytes, SEAL_BYTES) == 0;
}

bool note_read(const char *directory, const char *program,
               const uint8_t build[BUILD_BYTES], aiki_view sandbox,
               struct probe_answer *ret)
{
    AUTO(buf) aiki_writer head;
    AUTO(buf) aiki_writer bytes;
    char path[CACHE_PATH_SIZE];
    uint64_t size;
    aiki_view note;
    aiki_reader r;
    struct descriptor d;
    buf_init(&head);
    buf_init(&bytes);
    if (!note_path(directory, "", path) || !write_head(&head, program, build, sandbox))
        return false;
    AUTO(close_fd) int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (!is_trusted(fd, &size) || !read_all(fd, size, &bytes) ||
        !is_whole(aiki_writer_view(&bytes), &note) || note.size_bytes < head.size_bytes ||
        memcmp(note.data, head.data, head.size_bytes) != 0)
        return false;
    aiki_reader_init(&r, (aiki_view){note.data + head.size_bytes, note.size_bytes - head.size_bytes});
    aiki_view descriptor = aiki_mp_value(&r), entries = aiki_mp_value(&r);
    if (r.status != AIKI_OK || descriptor_read(descriptor, &d, NULL) != AIKI_OK)
        return false;
    probe_answer_deinit(ret);
    ret->bytes = bytes;
    ret->descriptor = descriptor;
    ret->entries = entries;
    buf_init(&bytes); /* which are the answer's now */
    return true;
}

/* ---- writing ------------------------------------------------------------------------------- */

static bool write_bytes(const char *path, aiki_view bytes)
{
    AUTO(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    for (uint64_t done = 0; fd >= 0 && done < bytes.size_bytes;) {
        ssize_t n = write(fd, bytes.data + done, (size_t)(bytes.size_bytes - done));
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (uint64_t)n : 0;
    }
    return fd >= 0;
}

bool note_write(const char *directory, const char *program,
                const uint8_t build[BUILD_BYTES], aiki_view sandbox,
                const struct probe_answer *answer)
{
    AUTO(buf) aiki_writer note;
    char draft[CACHE_PATH_SIZE], path[CACHE_PATH_SIZE], tail[24];
    uint8_t hash[SEAL_BYTES];
    buf_init(&note);
    if (!write_head(&note, program, build, sandbox))
        return false;
    aiki_mp_raw(&note, answer->descriptor.data, answer->descriptor.size_bytes);
    aiki_mp_raw(&note, answer->entries.data, answer->entries.size_bytes);
    hash_parts(hash, &(aiki_view){note.data, note.size_bytes}, 1);
    aiki_mp_raw(&note, hash, SEAL_BYTES);
    errno = ENOMEM;
    (void)snprintf(tail, sizeof(tail), ".%d", (int)getpid()); /* another runtime may keep the same build */
    if (note.status != AIKI_OK || !note_path(directory, tail, draft) || !note_path(directory, "", path) ||
        !write_bytes(draft, aiki_writer_view(&note)))
        return false;
    bool done = rename(draft, path) == 0;
    fault_point(runtime_build_noted);
    return done;
}
