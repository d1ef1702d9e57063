/* test_elf.c - the checks before a file is mapped as code: every cut and every damaged byte. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "intake/elf.h"

static uint8_t *good;
static uint64_t good_bytes;

static uint8_t *read_file(const char *path, uint64_t *ret_size)
{
    FILE *f = fopen(path, "rbe");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long size = ftell(f);
    assert_true(size > 0);
    rewind(f);
    uint8_t *bytes = malloc((size_t)size);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, f), size);
    assert_int_equal(fclose(f), 0);
    *ret_size = (uint64_t)size;
    return bytes;
}

static int setup(void **state)
{
    char path[4096];
    (void)state;
    snprintf(path, sizeof(path), "%s/intake_test_hello.so", getenv("AIKI_TEST_PLUGINS"));
    good = read_file(path, &good_bytes);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(good);
    return 0;
}

/* Checked from an allocation of exactly its size, so that a sanitizer sees a byte read beyond. */
static aiki_status check(const uint8_t *bytes, uint64_t size, aiki_error *err)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, size);
    *err = (aiki_error){.struct_size = sizeof(*err)};
    aiki_status st = elf_check((aiki_view){exact, size}, err);
    free(exact);
    return st;
}

static void refused(const uint8_t *bytes, uint64_t size, const char *code)
{
    aiki_error err;
    assert_int_equal(check(bytes, size, &err), AIKI_INVALID);
    assert_string_equal(err.code, code);
    assert_true(strlen(err.message) > 10);
}

/* A plugin as the compiler made it passes. */
static void a_plugin_passes(void **state)
{
    aiki_error err;
    (void)state;
    assert_int_equal(check(good, good_bytes, &err), AIKI_OK);
}

/* Whatever was not a shared object to begin with is called that. */
static void other_files_are_named(void **state)
{
    static const uint8_t text[] = "#!/bin/sh\necho hello, this is no plugin at all\n";
    uint64_t size;
    (void)state;
    refused(text, 0, "NOT_ELF");
    refused(text, sizeof(text), "NOT_ELF");
    uint8_t *self = read_file("/proc/self/exe", &size);
    refused(self, size, "NOT_SHARED");
    free(self);
}

static void with_byte(uint64_t at, uint8_t value, const char *code)
{
    uint8_t before = good[at];
    good[at] = value;
    refused(good, good_bytes, code);
    good[at] = before;
}

/* Built for another machine: said before anything else is looked at. */
static void other_machines_are_named(void **state)
{
    (void)state;
    with_byte(EI_CLASS, ELFCLASS32, "WRONG_MACHINE");
    with_byte(EI_DATA, ELFDATA2MSB, "WRONG_MACHINE");
    with_byte(offsetof(Elf64_Ehdr, e_machine), EM_SPARC, "WRONG_MACHINE");
    with_byte(offsetof(Elf64_Ehdr, e_type), ET_REL, "NOT_SHARED");
}

/* Headers whose entries have another size than the format says. */
static void headers_that_contradict_the_format(void **state)
{
    (void)state;
    with_byte(offsetof(Elf64_Ehdr, e_phentsize), 1, "BAD_ELF");
    with_byte(offsetof(Elf64_Ehdr, e_phnum) + 1, 1, "BAD_ELF");
    with_byte(EI_VERSION, 9, "BAD_ELF");
    with_byte(EI_OSABI, ELFOSABI_FREEBSD, "WRONG_MACHINE");
}

/* ---- one number of a table changed ------------------------------------------------------- */

static Elf64_Phdr *segment_of(uint32_t type)
{
    Elf64_Ehdr *h = (Elf64_Ehdr *)(void *)good;
    Elf64_Phdr *p = (Elf64_Phdr *)(void *)(good + h->e_phoff);
    for (unsigned i = 0; i < h->e_phnum; i++)
        if (p[i].p_type == type)
            return &p[i];
    fail();
    return NULL;
}

static Elf64_Dyn *tag_of(int64_t tag)
{
    for (Elf64_Dyn *d = (Elf64_Dyn *)(void *)(good + segment_of(PT_DYNAMIC)->p_offset);; d++) {
        if (d->d_tag == tag)
            return d;
        assert_int_not_equal(d->d_tag, DT_NULL);
    }
}

static void with_number(uint64_t *number, uint64_t value, const char *code)
{
    uint64_t before = *number;
    *number = value;
    refused(good, good_bytes, code);
    *number = before;
}

/* What loads well but is not let in. */
static void unwelcome_files_are_named(void **state)
{
    Elf64_Phdr *stack = segment_of(PT_GNU_STACK), *load = segment_of(PT_LOAD);
    (void)state;
    stack->p_flags |= PF_X;
    refused(good, good_bytes, "EXEC_STACK");
    stack->p_flags &= ~(uint32_t)PF_X;
    stack->p_type = PT_NULL;
    refused(good, good_bytes, "EXEC_STACK");
    stack->p_type = PT_INTERP;
    refused(good, good_bytes, "NOT_SHARED");
    stack->p_type = PT_GNU_STACK;
    uint32_t flags = load->p_flags;
    load->p_flags = PF_R | PF_W | PF_X;
    refused(good, good_bytes, "WRITABLE_CODE");
    load->p_flags = flags;
    Elf64_Dyn *any = tag_of(DT_FINI); /* of which a plugin has no need */
    Elf64_Dyn before = *any;
    *any = (Elf64_Dyn){.d_tag = DT_FLAGS, .d_un.d_val = DF_TEXTREL};
    refused(good, good_bytes, "TEXT_RELOCATIONS");
    any->d_tag = DT_TEXTREL;
    refused(good, good_bytes, "TEXT_RELOCATIONS");
    any->d_tag = DT_RUNPATH;
    any->d_un.d_val = tag_of(DT_NEEDED)->d_un.d_val; /* "libc.so.6" is no absolute path */
    refused(good, good_bytes, "FOREIGN_RPATH");
    any->d_tag = DT_RPATH;
    refused(good, good_bytes, "FOREIGN_RPATH");
    *any = before;
}

/* Each number that the loader follows leads outside for once. */
static void numbers_that_lead_outside(void **state)
{
    static const int64_t places[] = {DT_STRTAB, DT_SYMTAB, DT_RELA,       DT_GNU_HASH,   DT_VERSYM,
                                     DT_INIT,   DT_FINI,   DT_INIT_ARRAY, DT_FINI_ARRAY, DT_VERNEED};
    static const int64_t sizes[] = {DT_STRSZ, DT_RELASZ, DT_INIT_ARRAYSZ, DT_FINI_ARRAYSZ,
                                    DT_SYMENT, DT_RELAENT};
    Elf64_Phdr *load = segment_of(PT_LOAD), *dynamic = segment_of(PT_DYNAMIC);
    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        with_number(&tag_of(places[i])->d_un.d_val, UINT64_MAX - 7, "BAD_ELF");
        with_number(&tag_of(places[i])->d_un.d_val, UINT64_C(1) << 40, "BAD_ELF");
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        with_number(&tag_of(sizes[i])->d_un.d_val, UINT64_MAX / 2, "BAD_ELF");
    with_number(&tag_of(DT_STRSZ)->d_un.d_val, 3, "BAD_ELF");
    with_number(&tag_of(DT_NEEDED)->d_un.d_val, UINT32_MAX, "BAD_ELF");
    with_number(&dynamic->p_vaddr, 0, "BAD_ELF");
    with_number(&load[1].p_vaddr, load[0].p_vaddr, "BAD_ELF");
    with_number(&load->p_memsz, UINT64_MAX, "BAD_ELF");
    with_number(&load->p_align, 3, "BAD_ELF");
    Elf64_Rela *r = (Elf64_Rela *)(void *)(good + tag_of(DT_RELA)->d_un.d_val); /* first segment */
    with_number(&r->r_offset, 0, "TEXT_RELOCATIONS");
    with_number(&r->r_offset, UINT64_C(1) << 40, "BAD_ELF");
    with_number(&r->r_info, ELF64_R_INFO(UINT64_C(9999), ELF64_R_TYPE(r->r_info)), "BAD_ELF");
}

/* No proper beginning of a plugin passes, wherever a copy stopped. */
static void every_cut_is_refused(void **state)
{
    aiki_error err;
    (void)state;
    for (uint64_t size = 0; size < good_bytes; size += size < 1024 ? 1 : 61)
        assert_int_equal(check(good, size, &err), AIKI_INVALID);
    refused(good, good_bytes - 1, "TRUNCATED");
    refused(good, good_bytes / 2, "TRUNCATED");
}

/* A file of the right length whose end was never written: a copy after a power loss. */
static void a_tail_of_zeros_is_refused(void **state)
{
    aiki_error err;
    (void)state;
    uint8_t *copy = malloc(good_bytes);
    assert_non_null(copy);
    memcpy(copy, good, good_bytes);
    for (uint64_t keep = good_bytes - sizeof(Elf64_Shdr); keep > 0;
         keep -= keep < 512 ? keep : 512) {
        memset(copy + keep, 0, good_bytes - keep);
        assert_int_equal(check(copy, good_bytes, &err), AIKI_INVALID);
    }
    free(copy);
}

/* Damaged headers and tables get an answer, good or bad; the sanitizers watch the reads. */
static void damage_never_reads_outside(void **state)
{
    enum { ROUNDS = 4000, HITS = 3, HEAD_BYTES = 1024 };
    aiki_error err;
    (void)state;
    srand(20261121);
    uint8_t *copy = malloc(good_bytes);
    assert_non_null(copy);
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(copy, good, good_bytes);
        for (int i = 0; i < HITS; i++) {
            uint64_t range = round % 2 == 0 ? HEAD_BYTES : good_bytes;
            copy[(uint64_t)rand() % range] = (uint8_t)(rand() % 4 == 0 ? 0xff : rand());
        }
        aiki_status st = check(copy, good_bytes, &err);
        assert_true(st == AIKI_OK || (st == AIKI_INVALID && err.code[0] != '\0'));
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plugin_passes),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(other_machines_are_named),
        cmocka_unit_test(headers_that_contradict_the_format),
        cmocka_unit_test(unwelcome_files_are_named),
        cmocka_unit_test(numbers_that_lead_outside),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(a_tail_of_zeros_is_refused),
        cmocka_unit_test(damage_never_reads_outside),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
