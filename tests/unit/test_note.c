/* test_note.c - what a probe said is believed again only when it is whole, ours, and about the same thing. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <aiki/plugin.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/buf.h"
#include "intake/keep.h"
#include "intake/note.h"
#include "wire/descriptor.h"

#define PROGRAM "/proc/self/exe"

struct fixture {
    char dir[64], path[128];
    uint8_t build[BUILD_BYTES];
    struct probe_answer wrote, found;
};

static aiki_status flow(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)run, (void)input, (void)err;
    return AIKI_OK;
}

static const aiki_workflow_def workflows[] = {
    {.struct_size = sizeof(aiki_workflow_def), .name = "hello", .version = "1.0.0", .fn = flow}};
static const aiki_plugin_def plugin = {.struct_size = sizeof(plugin),
                                       .abi_major = AIKI_ABI_MAJOR,
                                       .name = "hello",
                                       .version = "1.0.0",
                                       .workflows = workflows,
                                       .workflow_count = 1,
                                       .workflow_stride = sizeof(workflows[0])};

/* A descriptor and an array of entries, in the answer's own bytes as after a probe. */
static void fill(struct probe_answer *a)
{
    probe_answer_init(a);
    assert_int_equal(descriptor_write(&a->bytes, &plugin, NULL), AIKI_OK);
    uint64_t split = a->bytes.size_bytes;
    aiki_mp_array(&a->bytes, 1);
    aiki_mp_array(&a->bytes, 2);
    aiki_mp_str(&a->bytes, "hello@1.0.0");
    aiki_mp_uint(&a->bytes, 0x1230);
    a->descriptor = (aiki_view){a->bytes.data, split};
    a->entries = (aiki_view){a->bytes.data + split, a->bytes.size_bytes - split};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct descriptor d;
    assert_non_null(f);
    strcpy(f->dir, "/tmp/aiki-note-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/.probed", f->dir);
    memset(f->build, 7, sizeof(f->build));
    fill(&f->wrote);
    probe_answer_init(&f->found);
    assert_int_equal(descriptor_read(f->wrote.descriptor, &d, NULL), AIKI_OK);
    assert_true(note_write(f->dir, PROGRAM, f->build, view_of("off"), &f->wrote));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    probe_answer_deinit(&f->wrote);
    probe_answer_deinit(&f->found);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static bool found(struct fixture *f)
{
    return note_read(f->dir, PROGRAM, f->build, view_of("off"), &f->found);
}

static size_t slurp(const struct fixture *f, uint8_t bytes[4096])
{
    FILE *in = fopen(f->path, "rbe");
    assert_non_null(in);
    size_t size = fread(bytes, 1, 4096, in);
    assert_int_equal(fclose(in), 0);
    return size;
}

static void put(const struct fixture *f, const uint8_t *bytes, size_t size)
{
    FILE *out = fopen(f->path, "wbe");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

/* Written twice it is still one file, and both times what it says is what was said. */
static void what_was_written_is_found(void **state)
{
    struct fixture *f = *state;
    struct stat s;
    assert_true(found(f));
    assert_true(note_write(f->dir, PROGRAM, f->build, view_of("off"), &f->wrote));
    assert_true(found(f));
    assert_true(view_equal(f->found.descriptor, f->wrote.descriptor));
    assert_true(view_equal(f->found.entries, f->wrote.entries));
    assert_int_equal(stat(f->path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
}

/* Any byte changed, any length cut off, something behind it: none of it is believed, nothing is touched. */
static void a_damaged_note_is_none(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[4096];
    size_t size = slurp(f, bytes);
    assert_in_range(size, 64, sizeof(bytes) - 1);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 0x10;
        put(f, bytes, size);
        assert_false(found(f));
        bytes[i] ^= 0x10;
        put(f, bytes, i);
        assert_false(found(f));
    }
    bytes[size] = 0;
    put(f, bytes, size + 1);
    assert_false(found(f));
    assert_int_equal(f->found.descriptor.size_bytes, 0);
    put(f, bytes, size);
    assert_true(found(f));
}

/* Another build, another sandbox: it says nothing about these. */
static void it_is_about_one_build_in_one_sandbox(void **state)
{
    struct fixture *f = *state;
    uint8_t other[BUILD_BYTES] = {1};
    assert_false(note_read(f->dir, PROGRAM, other, view_of("off"), &f->found));
    assert_false(note_read(f->dir, PROGRAM, f->build, view_of("on"), &f->found));
    assert_false(note_read(f->dir, PROGRAM, f->build, view_of(""), &f->found));
    assert_false(note_read(f->dir, "/bin/sh", f->build, view_of("off"), &f->found));
    assert_false(note_read(f->dir, "/nowhere", f->build, view_of("off"), &f->found));
    assert_true(found(f));
}

/* Who else could have written it could have written anything. */
static void others_must_not_write_it(void **state)
{
    struct fixture *f = *state;
    char aside[160];
    assert_int_equal(chmod(f->path, 0620), 0);
    assert_false(found(f));
    assert_int_equal(chmod(f->path, 0602), 0);
    assert_false(found(f));
    assert_int_equal(chmod(f->path, 0600), 0);
    snprintf(aside, sizeof(aside), "%s.aside", f->path);
    assert_int_equal(rename(f->path, aside), 0);
    assert_int_equal(symlink(aside, f->path), 0);
    assert_false(found(f));
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    assert_false(found(f)); /* and nobody waits for a writer */
    assert_int_equal(unlink(f->path), 0);
    assert_false(found(f));
}

/* The directory went meanwhile, or cannot be: said, and nothing is left behind. */
static void what_cannot_be_written_is_said(void **state)
{
    struct fixture *f = *state;
    char gone[160];
    snprintf(gone, sizeof(gone), "%s/gone", f->dir);
    assert_false(note_write(gone, PROGRAM, f->build, view_of("off"), &f->wrote));
    assert_false(note_read(gone, PROGRAM, f->build, view_of("off"), &f->found));
}

/* It lives and goes with what is kept of its build. */
static void it_is_kept_with_its_build(void **state)
{
    struct fixture *f = *state;
    aiki_error err = AIKI_ERROR_INIT;
    struct keep *k = NULL;
    struct build_signature unsigned_ = {.known = false};
    char copy[128];
    snprintf(copy, sizeof(copy), "%s/copy", f->dir);
    assert_int_equal(close(open(copy, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
    assert_int_equal(keep_create(&k, f->dir, f->dir, "default", &err), AIKI_OK);
    assert_int_equal(keep_write_note(k, PROGRAM, f->build, view_of("off"), &f->wrote, &err), AIKI_UNAVAILABLE);
    assert_string_equal(err.code, "CACHE_WRITE");
    assert_int_equal(keep_add(k, f->build, "hello.so", copy, &unsigned_, &err), AIKI_OK);
    assert_int_equal(keep_write_note(k, PROGRAM, f->build, view_of("off"), &f->wrote, &err), AIKI_OK);
    assert_true(keep_read_note(k, PROGRAM, f->build, view_of("off"), &f->found));
    keep_remove(k, f->build);
    assert_false(keep_read_note(k, PROGRAM, f->build, view_of("off"), &f->found));
    keep_destroy(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_note_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_about_one_build_in_one_sandbox, setup, teardown),
        cmocka_unit_test_setup_teardown(others_must_not_write_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(it_is_kept_with_its_build, setup, teardown),
    };
    return cmocka_run_group_tests_name("note", tests, NULL, NULL);
}
