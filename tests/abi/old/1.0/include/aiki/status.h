/* aiki/status.h - the words every aiki call answers with: views, status, errors.
 *
 * Plain data, no functions with state. Everything here is fixed width because it crosses
 * the boundary between a plugin and the host, which may be built years apart.
 * [any thread] since 1.0
 */
#ifndef AIKI_STATUS_H
#define AIKI_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Says the result must be looked at. */
#if defined(__GNUC__) || defined(__clang__)
#define AIKI_NODISCARD __attribute__((warn_unused_result))
#define AIKI_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define AIKI_NODISCARD
#define AIKI_PRINTF(fmt, first)
#endif

/* A borrowed run of bytes. The owner and the moment it ends are stated where one is passed.
 * An empty view has size_bytes 0; data may then be NULL. */
typedef struct aiki_view {
    const uint8_t *data;
    uint64_t size_bytes;
} aiki_view;

/* What the caller should do about an error. */
enum {
    AIKI_CATEGORY_OK = 0,
    AIKI_CATEGORY_CALLER = 1,    /* the request is wrong; the same request fails again */
    AIKI_CATEGORY_CONFLICT = 2,  /* state moved on; read again, then decide */
    AIKI_CATEGORY_TRANSIENT = 3, /* try again with backoff */
    AIKI_CATEGORY_USER = 4,      /* workflow or task code said no */
    AIKI_CATEGORY_PLUGIN = 5,    /* the plugin broke a rule or crashed */
    AIKI_CATEGORY_INFRA = 6      /* the engine or the machine below it failed */
};

/* name, category, number, meaning. Append only; numbers are never reused. */
#define AIKI_STATUS_MAP(X)                                                                  \
    X(OK, OK, 0, "success")                                                                 \
    X(INVALID, CALLER, 1, "invalid argument; retrying cannot help")                         \
    X(STALE, CONFLICT, 2, "state moved on; read again, then decide")                        \
    X(UNAVAILABLE, TRANSIENT, 3, "peer unreachable; retry with backoff")                    \
    X(NOMEM, INFRA, 4, "out of memory")                                                     \
    X(NOT_FOUND, CALLER, 5, "no such run, workflow, plugin or key")                         \
    X(CONFLICT, CONFLICT, 6, "the key is taken by a different request")                     \
    X(TIMEDOUT, TRANSIENT, 7, "the time given ran out")                                     \
    X(CANCELLED, USER, 8, "cancelled on request")                                           \
    X(FAILED, USER, 9, "user code reported a failure")                                      \
    X(LIMIT, CALLER, 10, "over a named limit")                                              \
    X(CORRUPT, INFRA, 11, "stored or received bytes do not decode")                         \
    X(UNSUPPORTED, CALLER, 12, "version or feature this side does not speak")               \
    X(DENIED, CALLER, 13, "not allowed")                                                    \
    X(FENCED, CONFLICT, 14, "ownership was lost; the write was refused")                    \
    X(DIVERGED, PLUGIN, 15, "the code no longer takes the recorded steps")                  \
    X(SCHEMA, CALLER, 16, "a value does not fit its schema")                                \
    X(CRASHED, PLUGIN, 17, "the process running the plugin died")                           \
    X(INTERNAL, INFRA, 18, "a bug in aiki; please report it")                               \
    X(SUSPENDED, USER, 19, "host use only: the run was dropped while suspended")            \
    X(PENDING, CONFLICT, 20, "not finished yet")

typedef int32_t aiki_status;
enum {
#define AIKI_STATUS_ENUM(name, category, number, text) AIKI_##name = number,
    AIKI_STATUS_MAP(AIKI_STATUS_ENUM)
#undef AIKI_STATUS_ENUM
    AIKI_STATUS_LAST_ = 20
};

enum {
    AIKI_ERROR_FINAL = 1u << 0,      /* do not retry, whatever the policy says */
    AIKI_ERROR_KEEP_OUTPUT = 1u << 1 /* the output set before failing is kept beside the error */
};
enum { AIKI_CODE_SIZE = 64, AIKI_MESSAGE_SIZE = 248, AIKI_CAUSE_DEPTH_MAX = 8 };

/* Why something failed. The caller owns the struct; every function accepts NULL for it.
 * details and cause are borrowed: from the run's arena in workflow code, from the attempt's
 * arena in task code. What workflow code sees is the same on every replay. since 1.0 */
typedef struct aiki_error {
    uint32_t struct_size;            /* set by AIKI_ERROR_INIT; 0 is read as version 1.0 */
    aiki_status status;
    int32_t category;                /* AIKI_CATEGORY_*; 0 means the status's own */
    uint32_t flags;                  /* AIKI_ERROR_* */
    int64_t retry_after_ms;          /* > 0: wait this long before the next attempt */
    char code[AIKI_CODE_SIZE];       /* stable, upper case, e.g. CARD_DECLINED; "" = status name */
    char message[AIKI_MESSAGE_SIZE]; /* for people: what happened, to what, what to do */
    aiki_view details;               /* msgpack, or empty */
    const struct aiki_error *cause;  /* what led here, or NULL; at most AIKI_CAUSE_DEPTH_MAX */
} aiki_error;

/* aiki_error err = AIKI_ERROR_INIT; */
#define AIKI_ERROR_INIT {(uint32_t)sizeof(aiki_error), 0, 0, 0, 0, {0}, {0}, {NULL, 0}, NULL}

/* Name of a status ("STALE") and its fixed text; "UNKNOWN" for numbers not in the map. */
static inline const char *aiki_status_name(aiki_status status)
{
    switch (status) {
#define AIKI_STATUS_NAME(name, category, number, text) \
    case number:                                       \
        return #name;
        AIKI_STATUS_MAP(AIKI_STATUS_NAME)
#undef AIKI_STATUS_NAME
    default:
        return "UNKNOWN";
    }
}

static inline const char *aiki_status_text(aiki_status status)
{
    switch (status) {
#define AIKI_STATUS_TEXT(name, category, number, text) \
    case number:                                       \
        return text;
        AIKI_STATUS_MAP(AIKI_STATUS_TEXT)
#undef AIKI_STATUS_TEXT
    default:
        return "unknown status";
    }
}

static inline int32_t aiki_status_category(aiki_status status)
{
    switch (status) {
#define AIKI_STATUS_CATEGORY(name, category, number, text) \
    case number:                                           \
        return AIKI_CATEGORY_##category;
        AIKI_STATUS_MAP(AIKI_STATUS_CATEGORY)
#undef AIKI_STATUS_CATEGORY
    default:
        return AIKI_CATEGORY_INFRA;
    }
}

#ifdef __cplusplus
}
#endif
#endif
