/* aiki/schema.h - the table behind a record, and the one walker that decodes, checks and encodes
 * by it.
 *
 *   struct in memory <--aiki_record_read / aiki_record_write--> msgpack map with text keys
 *
 * Reading ignores keys it does not know, takes nil for an optional field as absent, fills in
 * defaults, and refuses with AIKI_SCHEMA, code SCHEMA_MISMATCH and a message that names path,
 * rule and value ("items[2].price: must be at least 1, is -5"). Values of fields marked PII
 * never get into a message. aiki/record.h makes the tables; other languages may write them.
 * Limits: the AIKI_RECORD_* below, and those of aiki/msgpack.h.
 * [any thread] since 1.0
 */
#ifndef AIKI_SCHEMA_H
#define AIKI_SCHEMA_H

#include <aiki/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    AIKI_RECORD_DEPTH_MAX = 16,     /* records within records */
    AIKI_RECORD_FIELDS_MAX = 64,    /* fields of one record */
    AIKI_RECORD_NAME_BYTES_MAX = 64 /* of a field; of a record 100 */
};

/* Kinds of fields and the member of the C struct. The numbers are part of the ABI. */
enum {
    AIKI_FIELD_NONE = 0,
    AIKI_FIELD_I64 = 1,    /* int64_t */
    AIKI_FIELD_U64 = 2,    /* uint64_t */
    AIKI_FIELD_F64 = 3,    /* double, finite; reads integers too */
    AIKI_FIELD_BOOL = 4,   /* bool */
    AIKI_FIELD_STR = 5,    /* const char *: UTF-8, NUL-terminated, NULL = absent */
    AIKI_FIELD_BYTES = 6,  /* aiki_view: data NULL = absent */
    AIKI_FIELD_RECORD = 7, /* const struct x *: NULL = absent */
    AIKI_FIELD_LIST = 8    /* const T * and uint64_t count */
};

/* One field. Zero members mean: no such rule. since 1.0 */
typedef struct aiki_field_def {
    const char *name;        /* key in the map, 1 to AIKI_RECORD_NAME_BYTES_MAX bytes */
    uint32_t offset;         /* of the member in the C struct */
    uint32_t count_offset;   /* LIST: of the count member */
    uint8_t type;            /* AIKI_FIELD_* */
    uint8_t element;         /* LIST: AIKI_FIELD_* of the elements, not LIST */
    uint8_t required;        /* absent or nil is refused */
    uint8_t pii;             /* personal data: kept out of messages, logs and what people are shown */
    uint8_t has_min, has_max;
    uint8_t has_length;
    uint8_t has_default;
    int64_t min, max;        /* I64, U64, and elements of such lists */
    double real_min, real_max; /* F64, and elements of such lists */
    uint64_t length_min;     /* STR: characters; BYTES: bytes; LIST: elements */
    uint64_t length_max;
    const char *one_of;      /* STR and elements: "red|green", or NULL */
    int64_t default_int;     /* I64, U64, BOOL */
    double default_real;     /* F64 */
    const char *default_text; /* STR */
    const struct aiki_record_def *record; /* RECORD, LIST of RECORD */
} aiki_field_def;

/* One record. Constant, owned by the plugin, lives as long as the process. since 1.0 */
typedef struct aiki_record_def {
    uint32_t struct_size;
    uint32_t size_bytes;     /* of the C struct */
    const char *name;
    const aiki_field_def *fields;
    uint32_t field_count;    /* at most AIKI_RECORD_FIELDS_MAX */
    uint32_t field_stride;   /* entries may grow */
} aiki_record_def;

static inline const aiki_field_def *aiki_record_field(const aiki_record_def *def, uint32_t index)
{
    return (const aiki_field_def *)(const void *)((const char *)def->fields +
                                                  (size_t)index * def->field_stride);
}

/* ---- where a value is, for messages ------------------------------------------------------ */

struct aiki_walk_ {
    const aiki_memory *memory; /* NULL: check only */
    aiki_error *err;
    uint32_t depth;
    uint32_t lenient; /* 1: rules may be broken, types not */
};

struct aiki_path_ {
    const struct aiki_path_ *up;
    const char *name; /* of a field, or NULL for an element */
    uint64_t index;
    const aiki_field_def *field; /* rules that apply here; NULL at the root */
};

enum { AIKI_PATH_SIZE_ = 112, AIKI_SHOWN_SIZE_ = 64, AIKI_SHOWN_BYTES_ = 32 };

/* "items[2].price"; cut when too long. */
static inline void aiki_path_text_(const struct aiki_path_ *path, char text[AIKI_PATH_SIZE_])
{
    const struct aiki_path_ *line[2 * AIKI_RECORD_DEPTH_MAX + 2];
    unsigned n = 0, used = 0;
    for (; path != NULL && n < 2 * AIKI_RECORD_DEPTH_MAX + 2; path = path->up)
        if (path->field != NULL)
            line[n++] = path;
    __builtin_snprintf(text, AIKI_PATH_SIZE_, "%s", n == 0 ? "value" : "");
    while (n-- > 0 && used < AIKI_PATH_SIZE_) {
        char *at = text + used;
        int size = line[n]->name != NULL
                       ? __builtin_snprintf(at, AIKI_PATH_SIZE_ - used, "%s%s",
                                            used > 0 ? "." : "", line[n]->name)
                       : __builtin_snprintf(at, AIKI_PATH_SIZE_ - used, "[%llu]",
                                            (unsigned long long)line[n]->index);
        used += size > 0 ? (unsigned)size : 0;
    }
}

/* Text that came from outside: shortened, control characters and non-ASCII bytes masked. */
static inline void aiki_shown_text_(char text[AIKI_SHOWN_SIZE_], aiki_view bytes)
{
    const uint64_t max = AIKI_SHOWN_BYTES_;
    uint64_t i, n = bytes.size_bytes < max ? bytes.size_bytes : max;
    char *at = text;
    *at++ = '"';
    for (i = 0; i < n; i++)
        *at++ = bytes.data[i] < 0x20 || bytes.data[i] > 0x7e ? '?' : (char)bytes.data[i];
    *at++ = '"';
    __builtin_snprintf(at, 4, "%s", n < bytes.size_bytes ? "..." : "");
}

/* What was found, for ", is ..." */
static inline void aiki_shown_(char text[AIKI_SHOWN_SIZE_], const aiki_mp_item *item)
{
    static const char *const kind[] = {"nothing", "nil",   "",      "",     "",          "", "",
                                       "bytes",   "a list", "a map", "an extension", "not msgpack"};
    switch (item->type) {
    case AIKI_MP_BOOL:
        __builtin_snprintf(text, AIKI_SHOWN_SIZE_, "%s", item->as.boolean ? "true" : "false");
        break;
    case AIKI_MP_UINT:
        __builtin_snprintf(text, AIKI_SHOWN_SIZE_, "%llu", (unsigned long long)item->as.u);
        break;
    case AIKI_MP_INT:
        __builtin_snprintf(text, AIKI_SHOWN_SIZE_, "%lld", (long long)item->as.i);
        break;
    case AIKI_MP_DOUBLE: __builtin_snprintf(text, AIKI_SHOWN_SIZE_, "%.15g", item->as.d); break;
    case AIKI_MP_STR: aiki_shown_text_(text, item->bytes); break;
    default: __builtin_snprintf(text, AIKI_SHOWN_SIZE_, "%s", kind[item->type]); break;
    }
}

/* "PATH: RULE, is VALUE"; item NULL or a PII field leaves the value out. */
AIKI_PRINTF(4, 5)
static inline aiki_status aiki_mismatch_(const struct aiki_walk_ *walk,
                                         const struct aiki_path_ *path, const aiki_mp_item *item,
                                         const char *rule, ...)
{
    char where[AIKI_PATH_SIZE_], what[128], found[AIKI_SHOWN_SIZE_];
    __builtin_va_list args;
    if (walk->err == NULL)
        return AIKI_SCHEMA;
    aiki_path_text_(path, where);
    __builtin_va_start(args, rule);
    __builtin_vsnprintf(what, sizeof(what), rule, args);
    __builtin_va_end(args);
    if (item == NULL || (path->field != NULL && path->field->pii != 0))
        aiki_error_set(walk->err, AIKI_SCHEMA, "SCHEMA_MISMATCH", "%s: %s", where, what);
    else {
        aiki_shown_(found, item);
        aiki_error_set(walk->err, AIKI_SCHEMA, "SCHEMA_MISMATCH", "%s: %s, is %s", where, what,
                       found);
    }
    walk->err->flags |= AIKI_ERROR_FINAL;
    return AIKI_SCHEMA;
}

/* The same for what can be decoded all the same: a range, a length, a choice, a missing field. */
#define AIKI_BROKEN_RULE_(walk, ...) \
    ((walk)->lenient != 0 ? AIKI_OK : aiki_mismatch_((walk), __VA_ARGS__))

static inline aiki_status aiki_walk_nomem_(const struct aiki_walk_ *walk)
{
    return aiki_error_set(walk->err, AIKI_NOMEM, "NOMEM", "no memory left to decode a value");
}

/* ---- scalars ----------------------------------------------------------------------------- */

/* Characters of well-formed UTF-8 without NUL, or -1. Refuses overlong forms and surrogates
 * (RFC 3629). */
static inline int64_t aiki_utf8_length(aiki_view text)
{
    const uint8_t *p = text.data;
    const uint8_t *end = text.size_bytes > 0 ? p + text.size_bytes : p; /* NULL + 0 is undefined */
    int64_t length = 0;
    for (; p < end; length++) {
        uint8_t lead = *p++;
        unsigned more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (lead == 0 || (lead >= 0x80 && lead < 0xc2) || lead > 0xf4 ||
            (uint64_t)(end - p) < more)
            return -1;
        if ((lead == 0xe0 && p[0] < 0xa0) || (lead == 0xed && p[0] > 0x9f) ||
            (lead == 0xf0 && p[0] < 0x90) || (lead == 0xf4 && p[0] > 0x8f))
            return -1;
        for (; more > 0; more--)
            if ((*p++ & 0xc0) != 0x80)
                return -1;
    }
    return length;
}

/* Whether text is one of "red|green". */
static inline bool aiki_one_of_(const char *list, aiki_view text)
{
    while (*list != '\0') {
        uint64_t n = 0;
        while (list[n] != '\0' && list[n] != '|')
            n++;
        if (n == text.size_bytes && __builtin_memcmp(list, text.data, n) == 0)
            return true;
        list += n + (list[n] == '|' ? 1 : 0);
    }
    return false;
}

static inline aiki_status aiki_check_length_(const struct aiki_walk_ *walk,
                                             const struct aiki_path_ *path, uint64_t length,
                                             const char *unit)
{
    const aiki_field_def *f = path->field;
    if (f->has_length == 0 || (length >= f->length_min && length <= f->length_max))
        return AIKI_OK;
    if (f->length_min == f->length_max)
        return AIKI_BROKEN_RULE_(walk, path, NULL, "must have exactly %llu %s, has %llu",
                              (unsigned long long)f->length_min, unit,
                              (unsigned long long)length);
    return AIKI_BROKEN_RULE_(walk, path, NULL, "must have %llu to %llu %s, has %llu",
                          (unsigned long long)f->length_min, (unsigned long long)f->length_max,
                          unit, (unsigned long long)length);
}

static inline aiki_status aiki_check_range_(const struct aiki_walk_ *walk,
                                            const struct aiki_path_ *path,
                                            const aiki_mp_item *item)
{
    const aiki_field_def *f = path->field;
    bool negative = item->type == AIKI_MP_INT;
    if (f->has_min != 0 &&
        (negative ? item->as.i < f->min : f->min > 0 && item->as.u < (uint64_t)f->min))
        AIKI_TRY(AIKI_BROKEN_RULE_(walk, path, item, "must be at least %lld", (long long)f->min));
    if (f->has_max != 0 &&
        (negative ? item->as.i > f->max : f->max < 0 || item->as.u > (uint64_t)f->max))
        return AIKI_BROKEN_RULE_(walk, path, item, "must be at most %lld", (long long)f->max);
    return AIKI_OK;
}

static inline aiki_status aiki_read_int_(const struct aiki_walk_ *walk,
                                         const struct aiki_path_ *path, uint8_t type,
                                         const aiki_mp_item *item, void *member)
{
    if (type == AIKI_FIELD_U64) {
        if (item->type != AIKI_MP_UINT)
            return aiki_mismatch_(walk, path, item, "must be a whole number from 0");
    } else if (item->type != AIKI_MP_INT &&
               (item->type != AIKI_MP_UINT || item->as.u > (uint64_t)INT64_MAX)) {
        return aiki_mismatch_(walk, path, item, "must be a whole number of 64 bits");
    }
    AIKI_TRY(aiki_check_range_(walk, path, item));
    if (member != NULL)
        __builtin_memcpy(member, &item->as.u, sizeof(uint64_t));
    return AIKI_OK;
}

static inline aiki_status aiki_read_real_(const struct aiki_walk_ *walk,
                                          const struct aiki_path_ *path, const aiki_mp_item *item,
                                          void *member)
{
    const aiki_field_def *f = path->field;
    double value = item->as.d;
    if (item->type == AIKI_MP_UINT)
        value = (double)item->as.u;
    else if (item->type == AIKI_MP_INT)
        value = (double)item->as.i;
    else if (item->type != AIKI_MP_DOUBLE || !__builtin_isfinite(value))
        return aiki_mismatch_(walk, path, item, "must be a finite number");
    if (f->has_min != 0 && value < f->real_min)
        AIKI_TRY(AIKI_BROKEN_RULE_(walk, path, item, "must be at least %g", f->real_min));
    if (f->has_max != 0 && value > f->real_max)
        AIKI_TRY(AIKI_BROKEN_RULE_(walk, path, item, "must be at most %g", f->real_max));
    if (member != NULL)
        __builtin_memcpy(member, &value, sizeof(value));
    return AIKI_OK;
}

/* Text is copied for the NUL behind it. */
static inline aiki_status aiki_store_text_(const struct aiki_walk_ *walk, aiki_view text,
                                           void *member)
{
    char *copy;
    if (member == NULL)
        return AIKI_OK;
    copy = (char *)walk->memory->alloc(walk->memory->arg, text.size_bytes + 1);
    if (copy == NULL)
        return aiki_walk_nomem_(walk);
    aiki_mp_copy_((uint8_t *)copy, text.data, text.size_bytes);
    copy[text.size_bytes] = '\0';
    __builtin_memcpy(member, &copy, sizeof(copy));
    return AIKI_OK;
}

static inline aiki_status aiki_read_text_(const struct aiki_walk_ *walk,
                                          const struct aiki_path_ *path, const aiki_mp_item *item,
                                          void *member)
{
    const aiki_field_def *f = path->field;
    int64_t length;
    if (item->type != AIKI_MP_STR)
        return aiki_mismatch_(walk, path, item, "must be text");
    length = aiki_utf8_length(item->bytes);
    if (length < 0)
        return aiki_mismatch_(walk, path, item, "must be UTF-8 without NUL");
    if (path->name != NULL) /* the length rule of a list counts its elements */
        AIKI_TRY(aiki_check_length_(walk, path, (uint64_t)length, "characters"));
    if (f->one_of != NULL && !aiki_one_of_(f->one_of, item->bytes))
        AIKI_TRY(AIKI_BROKEN_RULE_(walk, path, item, "must be one of %s", f->one_of));
    return aiki_store_text_(walk, item->bytes, member);
}

static inline aiki_status aiki_read_bytes_(const struct aiki_walk_ *walk,
                                           const struct aiki_path_ *path,
                                           const aiki_mp_item *item, void *member)
{
    if (item->type != AIKI_MP_BIN)
        return aiki_mismatch_(walk, path, item, "must be bytes");
    if (path->name != NULL)
        AIKI_TRY(aiki_check_length_(walk, path, item->bytes.size_bytes, "bytes"));
    if (member != NULL)
        __builtin_memcpy(member, &item->bytes, sizeof(item->bytes));
    return AIKI_OK;
}

static inline aiki_status aiki_read_bool_(const struct aiki_walk_ *walk,
                                          const struct aiki_path_ *path, const aiki_mp_item *item,
                                          void *member)
{
    if (item->type != AIKI_MP_BOOL)
        return aiki_mismatch_(walk, path, item, "must be true or false");
    if (member != NULL)
        __builtin_memcpy(member, &item->as.boolean, sizeof(bool));
    return AIKI_OK;
}

/* ---- containers: depth-limited mutual recursion ------------------------------------------- */

static inline aiki_status aiki_read_map_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                         const aiki_record_def *def, const aiki_mp_item *item,
                                         aiki_reader *r, void *value);

/* Size of a member, or of a list element, of a scalar type or record. */
static inline size_t aiki_element_size_(const aiki_field_def *f)
{
    switch (f->element) {
    case AIKI_FIELD_BOOL: return sizeof(bool);
    case AIKI_FIELD_STR: return sizeof(const char *);
    case AIKI_FIELD_BYTES: return sizeof(aiki_view);
    case AIKI_FIELD_RECORD: return f->record->size_bytes;
    default: return sizeof(uint64_t);
    }
}

static inline aiki_status aiki_read_record_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                            const aiki_mp_item *item, aiki_reader *r, void *member)
{
    const aiki_record_def *def = path->field->record;
    void *value = NULL;
    if (member != NULL) {
        value = walk->memory->alloc(walk->memory->arg, def->size_bytes);
        if (value == NULL)
            return aiki_walk_nomem_(walk);
        __builtin_memcpy(member, &value, sizeof(value));
    }
    return aiki_read_map_(walk, path, def, item, r, value);
}

/* A value that is no list. Elements of type RECORD lie side by side, members point to theirs. */
static inline aiki_status aiki_read_one_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                         uint8_t type, const aiki_mp_item *item, aiki_reader *r,
                                         void *member)
{
    switch (type) {
    case AIKI_FIELD_I64:
    case AIKI_FIELD_U64: return aiki_read_int_(walk, path, type, item, member);
    case AIKI_FIELD_F64: return aiki_read_real_(walk, path, item, member);
    case AIKI_FIELD_BOOL: return aiki_read_bool_(walk, path, item, member);
    case AIKI_FIELD_STR: return aiki_read_text_(walk, path, item, member);
    case AIKI_FIELD_BYTES: return aiki_read_bytes_(walk, path, item, member);
    case AIKI_FIELD_RECORD:
        return path->name != NULL
                   ? aiki_read_record_(walk, path, item, r, member)
                   : aiki_read_map_(walk, path, path->field->record, item, r, member);
    default:
        return aiki_error_set(walk->err, AIKI_UNSUPPORTED, "BAD_SCHEMA",
                              "a field has type %u, which this build does not know", type);
    }
}

static inline aiki_status aiki_read_list_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                          const aiki_mp_item *item, aiki_reader *r, char *value)
{
    const aiki_field_def *f = path->field;
    const size_t size = aiki_element_size_(f);
    struct aiki_path_ at = {path, NULL, 0, f};
    char *elements = NULL;
    uint64_t i, count = item->as.count;
    if (item->type != AIKI_MP_ARRAY)
        return aiki_mismatch_(walk, path, item, "must be a list");
    AIKI_TRY(aiki_check_length_(walk, path, count, "elements"));
    if (value != NULL) {
        if (count > 0 && count > UINT32_MAX / (size > 0 ? size : 1))
            return aiki_walk_nomem_(walk);
        /* An empty list is present: it gets an address too. */
        elements = (char *)walk->memory->alloc(walk->memory->arg, count > 0 ? count * size : 1);
        if (elements == NULL)
            return aiki_walk_nomem_(walk);
        __builtin_memcpy(value + f->offset, &elements, sizeof(elements));
        __builtin_memcpy(value + f->count_offset, &count, sizeof(count));
    }
    for (i = 0; i < count; i++) {
        aiki_mp_item element;
        at.index = i;
        (void)aiki_mp_next(r, &element); /* a bad item has a type of its own and fits nothing */
        AIKI_TRY(aiki_read_one_(walk, &at, f->element, &element, r,
                                elements != NULL ? elements + i * size : NULL));
    }
    return AIKI_OK;
}

static inline aiki_status aiki_read_field_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                           const aiki_mp_item *item, aiki_reader *r, char *value)
{
    const aiki_field_def *f = path->field;
    if (f->type == AIKI_FIELD_LIST)
        return aiki_read_list_(walk, path, item, r, value);
    return aiki_read_one_(walk, path, f->type, item, r, value != NULL ? value + f->offset : NULL);
}

/* Defaults need no copy: they live in the plugin's constant tables. */
static inline void aiki_store_default_(const aiki_field_def *f, char *value)
{
    char *member = value + f->offset;
    bool flag = f->default_int != 0;
    switch (f->type) {
    case AIKI_FIELD_I64:
    case AIKI_FIELD_U64: __builtin_memcpy(member, &f->default_int, sizeof(int64_t)); break;
    case AIKI_FIELD_F64: __builtin_memcpy(member, &f->default_real, sizeof(double)); break;
    case AIKI_FIELD_BOOL: __builtin_memcpy(member, &flag, sizeof(flag)); break;
    case AIKI_FIELD_STR: __builtin_memcpy(member, &f->default_text, sizeof(f->default_text)); break;
    default: break;
    }
}

static inline aiki_status aiki_read_absent_(const struct aiki_walk_ *walk,
                                            const struct aiki_path_ *path, char *value)
{
    if (path->field->required != 0)
        return AIKI_BROKEN_RULE_(walk, path, NULL, "is required");
    if (value != NULL && path->field->has_default != 0)
        aiki_store_default_(path->field, value);
    return AIKI_OK;
}

/* Index of the field with that name, or field_count. Keys mostly come in field order, so the
 * search begins at the hint. */
static inline uint32_t aiki_record_find_(const aiki_record_def *def, aiki_view key, uint32_t hint)
{
    uint32_t i;
    for (i = 0; i < def->field_count; i++) {
        uint32_t at = (hint + i) % def->field_count;
        const char *name = aiki_record_field(def, at)->name;
        if (__builtin_strlen(name) == key.size_bytes &&
            __builtin_memcmp(name, key.data, key.size_bytes) == 0)
            return at;
    }
    return def->field_count;
}

static inline aiki_status aiki_read_pairs_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                           const aiki_record_def *def, uint64_t pair_count,
                                           aiki_reader *r, char *value)
{
    struct aiki_path_ at = {path, NULL, 0, NULL};
    uint64_t seen = 0;
    uint32_t index, next = 0;
    for (; pair_count > 0; pair_count--) {
        aiki_view key = {NULL, 0};
        aiki_mp_item item;
        if (aiki_mp_peek(r, &item) && item.type == AIKI_MP_STR)
            key = item.bytes;
        (void)aiki_mp_skip(r); /* a failure sticks in r and shows below */
        index = key.data != NULL ? aiki_record_find_(def, key, next) : def->field_count;
        if (index == def->field_count) {
            (void)aiki_mp_skip(r);
            continue;
        }
        at.field = aiki_record_field(def, index);
        at.name = at.field->name;
        if ((seen >> index & 1u) != 0)
            return aiki_mismatch_(walk, &at, NULL, "is given twice");
        next = index + 1;
        (void)aiki_mp_next(r, &item);
        if (item.type == AIKI_MP_NIL && at.field->required == 0)
            continue;
        seen |= (uint64_t)1 << index;
        AIKI_TRY(aiki_read_field_(walk, &at, &item, r, value));
    }
    if (r->status != AIKI_OK)
        return aiki_mismatch_(walk, path, NULL, "is not well-formed msgpack");
    for (index = 0; index < def->field_count; index++) {
        at.field = aiki_record_field(def, index);
        at.name = at.field->name;
        if ((seen >> index & 1u) == 0)
            AIKI_TRY(aiki_read_absent_(walk, &at, value));
    }
    return AIKI_OK;
}

static inline aiki_status aiki_read_map_(struct aiki_walk_ *walk, const struct aiki_path_ *path,
                                         const aiki_record_def *def, const aiki_mp_item *item,
                                         aiki_reader *r, void *value)
{
    aiki_status st;
    /* No value at all counts as the empty map: what is missing gets named. */
    bool none = path->field == NULL && item->type == AIKI_MP_NIL;
    if (item->type != AIKI_MP_MAP && !none)
        return aiki_mismatch_(walk, path, item, "must be a map");
    if (walk->depth == AIKI_RECORD_DEPTH_MAX || def->field_count > AIKI_RECORD_FIELDS_MAX)
        return aiki_mismatch_(walk, path, NULL, "has a schema beyond %d levels or %d fields",
                              AIKI_RECORD_DEPTH_MAX, AIKI_RECORD_FIELDS_MAX);
    walk->depth++;
    st = aiki_read_pairs_(walk, path, def, none ? 0 : item->as.count, r, (char *)value);
    walk->depth--;
    return st;
}

/* ---- read -------------------------------------------------------------------------------- */

/* aiki_record_read in one of the modes AIKI_SCHEMA_*: in others than strict, rules may be broken and
 * missing fields read as zero; what is not of its type is refused in every mode. since 1.1 */
AIKI_ONE_COPY_ static aiki_status aiki_record_read_as(const aiki_record_def *def, uint32_t mode,
                                                      aiki_view bytes, const aiki_memory *memory,
                                                      void *ret_value, aiki_error *err)
{
    struct aiki_walk_ walk = {memory, err, 0, mode != AIKI_SCHEMA_STRICT};
    const struct aiki_path_ root = {NULL, NULL, 0, NULL};
    aiki_mp_item item;
    aiki_reader r;
    aiki_reader_init(&r, bytes);
    (void)aiki_mp_next(&r, &item); /* bad bytes are an item of their own */
    AIKI_TRY(aiki_read_map_(&walk, &root, def, &item, &r, ret_value));
    if (aiki_reader_left(&r) > 0)
        return aiki_mismatch_(&walk, &root, NULL, "has bytes behind its end");
    return AIKI_OK;
}

/* Decode exactly one value into a zeroed struct. Text and lists come from memory; bytes borrow
 * from `bytes`. On failure *ret_value is half filled and must not be used. */
static inline aiki_status aiki_record_read(const aiki_record_def *def, aiki_view bytes,
                                           const aiki_memory *memory, void *ret_value,
                                           aiki_error *err)
{
    return aiki_record_read_as(def, AIKI_SCHEMA_STRICT, bytes, memory, ret_value, err);
}

/* The verdict and message of aiki_record_read without decoding. Allocates nothing. */
static inline aiki_status aiki_record_check(const aiki_record_def *def, aiki_view bytes,
                                            aiki_error *err)
{
    return aiki_record_read(def, bytes, NULL, NULL, err);
}

/* ---- write ------------------------------------------------------------------------------- */

static inline void aiki_write_map_(aiki_writer *w, const aiki_record_def *def, const char *value,
                                   uint32_t depth);

static inline const void *aiki_member_pointer_(const char *member)
{
    const void *pointer;
    __builtin_memcpy(&pointer, member, sizeof(pointer));
    return pointer;
}

/* Zero is what an absent number reads as, so an optional one is left out like a NULL: what was
 * decoded encodes, even where zero is out of range. */
static inline bool aiki_number_present_(const aiki_field_def *f, const char *member)
{
    uint64_t bits = 0;
    __builtin_memcpy(&bits, member, f->type == AIKI_FIELD_BOOL ? sizeof(bool) : sizeof(bits));
    return f->required != 0 || f->has_default != 0 || bits != 0;
}

static inline bool aiki_member_present_(const aiki_field_def *f, const char *value)
{
    aiki_view bytes;
    uint64_t count;
    switch (f->type) {
    case AIKI_FIELD_STR:
    case AIKI_FIELD_RECORD: return aiki_member_pointer_(value + f->offset) != NULL;
    case AIKI_FIELD_BYTES:
        __builtin_memcpy(&bytes, value + f->offset, sizeof(bytes));
        return bytes.data != NULL;
    case AIKI_FIELD_LIST: /* a required list may be empty without an address */
        __builtin_memcpy(&count, value + f->count_offset, sizeof(count));
        return f->required != 0 || count > 0 || aiki_member_pointer_(value + f->offset) != NULL;
    default: return aiki_number_present_(f, value + f->offset);
    }
}

static inline void aiki_write_one_(aiki_writer *w, const aiki_field_def *f, uint8_t type,
                                   const char *member, uint32_t depth)
{
    union {
        int64_t i;
        uint64_t u;
        double d;
        bool flag;
        aiki_view bytes;
    } as;
    switch (type) {
    case AIKI_FIELD_I64: __builtin_memcpy(&as.i, member, sizeof(as.i)); aiki_mp_int(w, as.i); break;
    case AIKI_FIELD_U64: __builtin_memcpy(&as.u, member, sizeof(as.u)); aiki_mp_uint(w, as.u); break;
    case AIKI_FIELD_F64:
        __builtin_memcpy(&as.d, member, sizeof(as.d));
        aiki_mp_double(w, as.d);
        break;
    case AIKI_FIELD_BOOL:
        __builtin_memcpy(&as.flag, member, sizeof(as.flag));
        aiki_mp_bool(w, as.flag);
        break;
    case AIKI_FIELD_STR: aiki_mp_str(w, (const char *)aiki_member_pointer_(member)); break;
    case AIKI_FIELD_BYTES:
        __builtin_memcpy(&as.bytes, member, sizeof(as.bytes));
        aiki_mp_bin(w, as.bytes.data, as.bytes.size_bytes);
        break;
    default: aiki_write_map_(w, f->record, member, depth); break;
    }
}

static inline void aiki_write_list_(aiki_writer *w, const aiki_field_def *f, const char *value,
                                    uint32_t depth)
{
    const char *elements = (const char *)aiki_member_pointer_(value + f->offset);
    const size_t size = aiki_element_size_(f);
    uint64_t i, count;
    __builtin_memcpy(&count, value + f->count_offset, sizeof(count));
    if (elements == NULL)
        count = 0;
    aiki_mp_array(w, count);
    for (i = 0; i < count && w->status == AIKI_OK; i++)
        aiki_write_one_(w, f, f->element, elements + i * size, depth);
}

static inline void aiki_write_map_(aiki_writer *w, const aiki_record_def *def, const char *value,
                                   uint32_t depth)
{
    uint32_t i, present = 0;
    if (depth == AIKI_RECORD_DEPTH_MAX) {
        w->status = AIKI_LIMIT;
        return;
    }
    for (i = 0; i < def->field_count; i++)
        present += aiki_member_present_(aiki_record_field(def, i), value) ? 1u : 0u;
    aiki_mp_map(w, present);
    for (i = 0; i < def->field_count && w->status == AIKI_OK; i++) {
        const aiki_field_def *f = aiki_record_field(def, i);
        if (!aiki_member_present_(f, value))
            continue;
        aiki_mp_str(w, f->name);
        if (f->type == AIKI_FIELD_LIST)
            aiki_write_list_(w, f, value, depth + 1);
        else if (f->type == AIKI_FIELD_RECORD)
            aiki_write_map_(w, f->record, (const char *)aiki_member_pointer_(value + f->offset),
                            depth + 1);
        else
            aiki_write_one_(w, f, f->type, value + f->offset, depth + 1);
    }
}

/* aiki_record_write in one of the modes AIKI_SCHEMA_*, as aiki_record_read_as reads. since 1.1 */
AIKI_ONE_COPY_ static aiki_status aiki_record_write_as(const aiki_record_def *def, uint32_t mode,
                                                       const void *value, aiki_writer *w,
                                                       aiki_error *err)
{
    const uint64_t begin = w->size_bytes;
    aiki_view written;
    aiki_write_map_(w, def, (const char *)value, 0);
    if (w->status != AIKI_OK)
        return aiki_writer_failed_(w, err);
    written.data = w->data + begin;
    written.size_bytes = w->size_bytes - begin;
    return aiki_record_read_as(def, mode, written, NULL, NULL, err);
}

/* Append the record as a map in field order; absent members are left out. What was written is
 * checked by the same rules as on reading, so an encoded record always decodes. */
static inline aiki_status aiki_record_write(const aiki_record_def *def, const void *value,
                                            aiki_writer *w, aiki_error *err)
{
    return aiki_record_write_as(def, AIKI_SCHEMA_STRICT, value, w, err);
}

#ifdef __cplusplus
}
#endif
#endif
