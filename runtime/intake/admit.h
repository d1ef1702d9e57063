/* intake/admit.h - take one plugin file in: copy aside, hash, check, probe. [any, blocks]
 *
 *   open once (trust.h) -> size? -> private copy -> unchanged meanwhile? -> hash = build
 *                                    (at a start: a second name of what is kept of the same bytes, hashed as well)
 *     -> known? then that was all -> ELF checks over the copy -> signature of the copy (keys.h)
 *     -> what it declares to need (needs.h), and whether that is allowed
 *     -> BUILD.COUNTER.so -> probe, unless there is a note of one (note.h)
 *     -> what workflow code must not call (lint.h)
 *
 * Everything after the copy looks at the copy, so what was checked is what will run. What speaks
 * against a file without refusing it is a warning. Limits: PLUGIN_BYTES_MAX, WARNINGS_MAX.
 */
#ifndef INTAKE_ADMIT_H
#define INTAKE_ADMIT_H

#include <aiki/status.h>

#include "intake/cache.h"
#include "intake/keep.h"
#include "intake/keys.h"
#include "intake/needs.h"
#include "intake/probe.h"

enum { PLUGIN_BYTES_MAX = 256 * 1024 * 1024, WARNINGS_MAX = 32, KNOWN_BUILDS_MAX = 2, ADMIT_TRIES_MAX = 50 };

/* Borrowed for the call. */
struct admit_options {
    const char *executable; /* aiki-child, for the probe */
    const char *keys_dir;   /* who may sign; empty or NULL: signatures are not asked for */
    const char *sandbox;    /* the setting: base/sandbox.h */
    struct limits limits;   /* of a process with it */
    const char *name;       /* relative to the plugins directory; NULL: a file that is only checked */
    const struct keep *keep; /* whose notes make a probe needless; NULL: always probe, always copy */
    bool kept_first;        /* the same bytes may be kept there already: no second copy is made of them */
    bool own;               /* the file is one of this state directory: a second name of it will do, where it can be had */
    bool any_owner;         /* owners and modes only warn */
    bool strict;            /* what workflow code must not call refuses the file */
    /* Builds that need not be looked at again: the copy is not made final. */
    const uint8_t *known[KNOWN_BUILDS_MAX]; /* NULL: none */
};

struct admission {
    uint8_t build[BUILD_BYTES]; /* zero when the file could not be read */
    char copy[CACHE_PATH_SIZE]; /* the caller unlinks it when its last user has ended */
    struct build_signature signature; /* unknown when there is none, or it is no signature */
    char needs[NEEDS_SIZE]; /* what it declares (needs.h); "" = nothing */
    bool known;              /* it is one of options->known; there is no copy, no answer */
    struct probe_answer answer;
    bool noted;              /* the answer is one from before (note.h) */
    bool probed;             /* a process was asked for it */
    aiki_writer warnings;    /* owned: error maps, one behind the other */
    unsigned warning_count;
};

/* UNSTABLE: looked at ADMIT_TRIES_MAX times in a row, WATCH_QUIET_MS apart, it was AIKI_STALE each time. */
aiki_status admit_unstable(aiki_error *err);
void admission_init(struct admission *a);
void admission_deinit(struct admission *a);

/* draft_path: from cache_draft_path; the copy gets its final name beside it. On failure nothing
 * is left behind and ret->build is still set when the bytes were read. AIKI_STALE: the file
 * changed while it was read; look again later. Anything else refuses the file: codes
 * TOO_LARGE, CACHE_WRITE, NOT_DETERMINISTIC, NEEDS_REFUSED, those of names.h, trust.h, elf.h, keys.h, needs.h and probe.h. */
aiki_status admit_file(const char *path, const char *draft_path,
                       const struct admit_options *options, struct admission *ret, aiki_error *err);
/* The first half of it: all but the probe and what follows. */
aiki_status admit_copy(const char *path, const char *draft_path,
                       const struct admit_options *options, struct admission *ret, aiki_error *err);
/* The third quarter: a->answer, of a probe or a note. path: of the file, or its name, for its sandbox. */
aiki_status admit_probe(const char *path, const struct admit_options *options, struct admission *a,
                        aiki_error *err);
/* Behind the probe: what names source lines, made once a build (lines.h) and kept with its note. */
void admit_lines(const struct admit_options *options, const struct admission *a);
/* Its warnings as a msgpack array; nothing when there are none. */
void admission_write_warnings(const struct admission *a, aiki_writer *w);

#endif
