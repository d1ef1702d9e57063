/* test_admit.c - private copies of plugins: what is let in, under which name, what is left behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/without_root.h"
#include "intake/admit.h"
#include "wire/hash.h"

enum { PATH_SIZE = 256 };

struct fixture {
    char dir[64], state[PATH_SIZE], file[PATH_SIZE];
    char draft[CACHE_PATH_SIZE];
    struct cache *cache;
    struct admission a;
    aiki_error err;
};

static const struct admit_options plain;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    strcpy(f->dir, "/tmp/aiki-admit-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->state, sizeof(f->state), "%s/deep/state", f->dir);
    snprintf(f->file, sizeof(f->file), "%s/plugin.so", f->dir);
    f->err.struct_size = sizeof(f->err);
    assert_int_equal(cache_create(&f->cache, f->state, &f->err), AIKI_OK);
    cache_draft_path(f->cache, f->draft);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    cache_destroy(f->cache);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static unsigned count_entries(const char *path)
{
    unsigned count = 0;
    DIR *d = opendir(path);
    if (d == NULL)
        return 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

/* Directory of this process's copies: where drafts are. */
static const char *copies_dir(const struct fixture *f, char path[CACHE_PATH_SIZE])
{
    snprintf(path, CACHE_PATH_SIZE, "%.*s", (int)(strrchr(f->draft, '/') - f->draft), f->draft);
    return path;
}

static void put(const struct fixture *f, const void *bytes, size_t size)
{
    FILE *out = fopen(f->file, "wbe");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static size_t put_plugin(const struct fixture *f, uint8_t **ret_bytes)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/intake_test_hello.so", getenv("AIKI_TEST_PLUGINS"));
    FILE *in = fopen(path, "rbe");
    assert_non_null(in);
    uint8_t *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    size_t size = fread(bytes, 1, 1 << 20, in);
    assert_int_equal(fclose(in), 0);
    put(f, bytes, size);
    *ret_bytes = bytes;
    return size;
}

/* The copy has the same bytes, is named after their hash, and no path is given out twice. */
static void a_plugin_is_copied_under_its_hash(void **state)
{
    struct fixture *f = *state;
    struct admission again = {.known = false};
    uint8_t *bytes, hash[BUILD_BYTES];
    char hex[BUILD_HEX_SIZE], dir[CACHE_PATH_SIZE];
    struct stat s;
    size_t size = put_plugin(f, &bytes);
    hash_parts(hash, &(aiki_view){bytes, size}, 1);
    free(bytes);
    assert_int_equal(admit_copy(f->file, f->draft, &plain, &f->a, &f->err), AIKI_OK);
    assert_memory_equal(f->a.build, hash, BUILD_BYTES);
    build_hex(hash, hex);
    assert_non_null(strstr(f->a.copy, hex));
    assert_int_equal(stat(f->a.copy, &s), 0);
    assert_int_equal(s.st_size, size);
    assert_int_equal(s.st_mode & 0777, 0600);

    cache_draft_path(f->cache, f->draft);
    assert_int_equal(admit_copy(f->file, f->draft, &plain, &again, &f->err), AIKI_OK);
    assert_string_not_equal(again.copy, f->a.copy);
    assert_int_equal(count_entries(copies_dir(f, dir)), 2);
}

static void expect_refusal(struct fixture *f, const char *code)
{
    char dir[CACHE_PATH_SIZE];
    aiki_status st = admit_copy(f->file, f->draft, &plain, &f->a, &f->err);
    assert_int_not_equal(st, AIKI_OK);
    assert_string_equal(f->err.code, code);
    assert_int_equal(count_entries(copies_dir(f, dir)), 0);
}

/* Each refusal has its code and leaves nothing in the cache. */
static void refusals_leave_nothing(void **state)
{
    struct fixture *f = *state;
    expect_refusal(f, "STALE"); /* nothing there: the watcher looks again */
    put(f, "text\n", 5);
    expect_refusal(f, "NOT_ELF");
    put(f, "", 0);
    expect_refusal(f, "NOT_ELF");
    assert_int_equal(truncate(f->file, (off_t)PLUGIN_BYTES_MAX + 1), 0);
    expect_refusal(f, "TOO_LARGE");
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(mkdir(f->file, 0700), 0);
    expect_refusal(f, "NOT_A_FILE");
    assert_int_equal(rmdir(f->file), 0);
    assert_int_equal(symlink(f->file, f->file), 0); /* leads in a circle */
    expect_refusal(f, "BROKEN_LINK");
    assert_non_null(strstr(f->err.message, "circle"));
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(symlink("nowhere", f->file), 0);
    expect_refusal(f, "BROKEN_LINK");
    assert_non_null(strstr(f->err.message, "nothing"));
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(mkfifo(f->file, 0600), 0);
    expect_refusal(f, "NOT_A_FILE");
}

/* What is missing is named: the right to read it, or a disk that answers. Both may be mended elsewhere. */
static void what_cannot_be_read_says_why(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes;
    (void)put_plugin(f, &bytes);
    free(bytes);
    assert_int_equal(chmod(f->file, 0), 0);
    without_root(true);
    expect_refusal(f, "UNREADABLE");
    without_root(false);
    assert_int_equal(f->err.status, AIKI_DENIED);
    assert_non_null(strstr(f->err.message, "let uid"));
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(symlink("/proc/self/mem", f->file), 0); /* which fails to read its first page */
    expect_refusal(f, "UNREADABLE");
    assert_int_equal(f->err.status, AIKI_UNAVAILABLE);
    assert_non_null(strstr(f->err.message, "look at its disk"));
}

/* A cache that went away is the operator's to mend, and says which path. */
static void a_lost_cache_is_said(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes;
    char dir[CACHE_PATH_SIZE];
    (void)put_plugin(f, &bytes);
    free(bytes);
    assert_int_equal(rmdir(copies_dir(f, dir)), 0);
    expect_refusal(f, "CACHE_WRITE");
    assert_non_null(strstr(f->err.message, f->draft));
}

/* The next one finds it again, as nobody's but this process's. */
static void a_lost_cache_is_made_again(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes;
    char dir[CACHE_PATH_SIZE], command[CACHE_PATH_SIZE + 16];
    struct cache *other = NULL;
    (void)put_plugin(f, &bytes);
    free(bytes);
    snprintf(command, sizeof(command), "rm -r %s", f->state);
    assert_int_equal(system(command), 0);
    cache_draft_path(f->cache, f->draft);
    assert_int_equal(admit_copy(f->file, f->draft, &plain, &f->a, &f->err), AIKI_OK);
    assert_int_equal(count_entries(copies_dir(f, dir)), 1);
    assert_int_equal(cache_create(&other, f->state, &f->err), AIKI_OK); /* which sweeps what nobody has */
    assert_int_equal(count_entries(copies_dir(f, dir)), 1);
    cache_destroy(other);
}

static void parent_of(const struct fixture *f, char path[CACHE_PATH_SIZE])
{
    snprintf(path, CACHE_PATH_SIZE, "%s/cache", f->state);
}

/* What a killed process left is removed by the next one; what a living one uses is not. */
static void copies_of_the_dead_are_swept(void **state)
{
    struct fixture *f = *state;
    char parent[CACHE_PATH_SIZE];
    struct cache *other;
    uint8_t *bytes;
    (void)put_plugin(f, &bytes);
    free(bytes);
    assert_int_equal(admit_copy(f->file, f->draft, &plain, &f->a, &f->err), AIKI_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (cache_create(&other, f->state, &f->err) != AIKI_OK)
            _exit(1);
        cache_draft_path(other, f->draft);
        _exit(admit_copy(f->file, f->draft, &plain, &f->a, &f->err) == AIKI_OK ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    parent_of(f, parent);
    assert_int_equal(count_entries(parent), 2);
    assert_int_equal(cache_create(&other, f->state, &f->err), AIKI_OK);
    assert_int_equal(count_entries(parent), 2);
    assert_int_equal(access(f->a.copy, F_OK), 0);
    cache_destroy(other);
    assert_int_equal(count_entries(parent), 1);
}

/* A build that an earlier process of the runtime kept. */
static struct keep *keep_of(struct fixture *f, const char *copy)
{
    const struct build_signature none = {.known = false};
    struct keep *k = NULL;
    assert_int_equal(keep_create(&k, f->state, f->dir, "default", &f->err), AIKI_OK);
    assert_int_equal(keep_add(k, f->a.build, "plugin.so", copy, &none, &f->err), AIKI_OK);
    return k;
}

static ino_t inode_of(const char *path)
{
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    return s.st_ino;
}

/* What is kept of the same bytes is not copied again; what it was is hashed again, and that decides. */
static void bytes_that_are_kept_get_a_second_name(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes;
    size_t size = put_plugin(f, &bytes);
    assert_int_equal(admit_copy(f->file, f->draft, &plain, &f->a, &f->err), AIKI_OK);
    struct keep *k = keep_of(f, f->a.copy);
    const struct admit_options options = {.keep = k, .kept_first = true};
    struct admission again = {.known = false}, mended = {.known = false}, other = {.known = false};

    cache_draft_path(f->cache, f->draft);
    assert_int_equal(admit_copy(f->file, f->draft, &options, &again, &f->err), AIKI_OK);
    assert_int_equal(inode_of(again.copy), inode_of(f->a.copy));
    assert_string_not_equal(again.copy, f->a.copy);
    assert_memory_equal(again.build, f->a.build, BUILD_BYTES);

    int fd = open(again.copy, O_WRONLY | O_CLOEXEC); /* a disk that lost a byte of it */
    assert_int_equal(pwrite(fd, "x", 1, (off_t)size / 2), 1);
    assert_int_equal(close(fd), 0);
    cache_draft_path(f->cache, f->draft);
    assert_int_equal(admit_copy(f->file, f->draft, &options, &mended, &f->err), AIKI_OK);
    assert_memory_equal(mended.build, f->a.build, BUILD_BYTES);
    assert_int_not_equal(inode_of(mended.copy), inode_of(f->a.copy));
    assert_false(keep_lend_copy(k, f->a.build, f->draft)); /* what is damaged is not kept */

    bytes[size - 1] ^= 1;
    put(f, bytes, size);
    free(bytes);
    cache_draft_path(f->cache, f->draft);
    assert_int_equal(admit_copy(f->file, f->draft, &options, &other, &f->err), AIKI_OK);
    assert_memory_not_equal(other.build, f->a.build, BUILD_BYTES);
    keep_destroy(k);
}

/* Who else could have written it may have done so between two looks. */
static void kept_bytes_that_others_may_write_are_copied(void **state)
{
    struct fixture *f = *state;
    struct admission again = {.known = false};
    uint8_t *bytes;
    (void)put_plugin(f, &bytes);
    free(bytes);
    assert_int_equal(admit_copy(f->file, f->draft, &plain, &f->a, &f->err), AIKI_OK);
    struct keep *k = keep_of(f, f->a.copy);
    assert_int_equal(chmod(f->a.copy, 0622), 0);
    cache_draft_path(f->cache, f->draft);
    const struct admit_options options = {.keep = k, .kept_first = true};
    assert_int_equal(admit_copy(f->file, f->draft, &options, &again, &f->err), AIKI_OK);
    assert_int_not_equal(inode_of(again.copy), inode_of(f->a.copy));
    keep_destroy(k);
}

/* What is in the state directory anyway gets a second name, unless others may write to it. */
static void a_file_of_ones_own_is_not_copied(void **state)
{
    struct fixture *f = *state;
    const struct admit_options own = {.any_owner = true, .own = true};
    uint8_t *bytes, build[BUILD_BYTES];
    size_t size = put_plugin(f, &bytes);
    hash_parts(build, &(aiki_view){bytes, size}, 1);
    free(bytes);
    assert_int_equal(chmod(f->file, 0600), 0);
    assert_int_equal(admit_copy(f->file, f->draft, &own, &f->a, &f->err), AIKI_OK);
    assert_int_equal(inode_of(f->a.copy), inode_of(f->file));
    assert_memory_equal(f->a.build, build, BUILD_BYTES);
    assert_int_equal(chmod(f->file, 0620), 0);
    cache_draft_path(f->cache, f->draft);
    assert_int_equal(admit_copy(f->file, f->draft, &own, &f->a, &f->err), AIKI_OK);
    assert_int_not_equal(inode_of(f->a.copy), inode_of(f->file));
    assert_memory_equal(f->a.build, build, BUILD_BYTES);
}

/* A state directory that others may write to would let them swap what runs. */
static void a_shared_state_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    struct cache *other = NULL;
    assert_int_equal(chmod(f->state, 0777), 0);
    assert_int_equal(cache_create(&other, f->state, &f->err), AIKI_DENIED);
    assert_string_equal(f->err.code, "STATE_DIR");
    assert_null(other);
    put(f, "x", 1);
    assert_int_equal(cache_create(&other, f->file, &f->err), AIKI_UNAVAILABLE);
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_plugin_is_copied_under_its_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_leave_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_says_why, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_cache_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_cache_is_made_again, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_of_the_dead_are_swept, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_that_are_kept_get_a_second_name, setup, teardown),
        cmocka_unit_test_setup_teardown(kept_bytes_that_others_may_write_are_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_of_ones_own_is_not_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shared_state_directory_is_refused, setup, teardown),
    };
    hash_setup();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
