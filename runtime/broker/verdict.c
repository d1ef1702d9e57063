/* verdict.c - see verdict.h. The page may have been written all over by the plugin: every number is
 * checked and every text cleaned.
 */
#include "broker/verdict.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "wire/error.h"
#include "wire/message.h"

enum { STACK_FRAMES_MAX = 16, STACK_TEXT_BYTES_MAX = 160, THREAD_TEXT_SIZE = 40, END_TEXT_SIZE = 40,
       MEMORY_TEXT_SIZE = 64 };

static bool is_busy(const struct blame_slot *s)
{
    return atomic_load_explicit(&s->busy, memory_order_acquire) == 1;
}

static int64_t left_at(const struct blame_slot *s)
{
    return atomic_load_explicit(&s->left_mono_ms, memory_order_relaxed);
}

static bool was_left_lately(const struct blame_slot *s)
{
    int64_t at_ms = left_at(s);
    int64_t now_ms = clock_mono_ms();
    return at_ms > 0 && at_ms <= now_ms && now_ms - at_ms <= VERDICT_LEFT_MS;
}

static bool was_left_once(const struct blame_slot *s)
{
    return left_at(s) != 0;
}

static bool is_busy_or_left_lately(const struct blame_slot *s)
{
    return is_busy(s) || was_left_lately(s);
}

/* Who executes at that moment need not be who closed the descriptors. */
static bool was_cut_off(const struct proc_end *end)
{
    return end->signal == 0 && end->exit_code == CHILD_EXIT_CUT_OFF;
}

static void add(struct verdict *v, const struct blame_slot *s, const struct blame_death *d, bool certain)
{
    v->of[v->count++] = (struct blamed){s, d, certain};
    v->certain += certain;
}

/* Tasks before the loop's thread: who tampers with the process is more likely one of them. */
static void gather(struct verdict *v, bool (*is_suspect)(const struct blame_slot *s),
                   const struct blame_death *anonymous)
{
    for (unsigned i = 1; i <= BLAME_SLOTS; i++) {
        const struct blame_slot *s = &v->end->page->slots[i % BLAME_SLOTS];
        if (is_suspect(s))
            add(v, s, anonymous, false);
    }
}

/* Which step of the only run it was is a guess; the run is not. */
static void choose_one(struct verdict *v)
{
    const struct blamed *best = &v->of[0];
    for (unsigned i = 1; i < v->count; i++)
        if (v->of[i].slot->attempt > 0 && left_at(v->of[i].slot) > left_at(best->slot))
            best = &v->of[i];
    v->of[0] = *best;
    v->of[0].certain = true;
    v->count = v->certain = 1;
}

static bool is_known(const struct verdict *v, const struct blame_slot *s)
{
    for (unsigned i = 0; i < v->count; i++)
        if (v->of[i].slot == s)
            return true;
    return false;
}

/* Threads that left an account and were in the code of a run. ret_anonymous: somebody else's account. */
static void take_accounts(struct verdict *v, const struct blame_death **ret_anonymous)
{
    const struct blame_page *page = v->end->page;
    unsigned count = atomic_load_explicit(&page->deaths_taken, memory_order_acquire);
    *ret_anonymous = NULL;
    for (unsigned i = 0; i < count && i < BLAME_DEATHS_MAX; i++) {
        const struct blame_death *d = &page->deaths[i];
        unsigned thread = atomic_load_explicit(&d->thread, memory_order_acquire);
        if (thread == 0)
            continue; /* it got no further */
        const struct blame_slot *s = thread <= BLAME_SLOTS ? &page->slots[thread - 1] : NULL;
        if (s == NULL || !is_busy(s))
            *ret_anonymous = *ret_anonymous != NULL ? *ret_anonymous : d;
        else if (!is_known(v, s))
            add(v, s, d, true);
    }
}

/* Beside a crash that has a name. */
static void add_unsteady(struct verdict *v, const struct blame_death *anonymous)
{
    for (unsigned i = 0; i < BLAME_SLOTS; i++) {
        const struct blame_slot *s = &v->end->page->slots[i];
        bool stood = atomic_load_explicit(&v->end->page->stopped[i], memory_order_relaxed) == 1 && anonymous == NULL;
        if (is_busy(s) && !stood && !is_known(v, s))
            add(v, s, anonymous, false);
    }
}

/* Who wrote over it may be any of those that were in the process. Alone, it is the only one. */
static void suspect_all(struct verdict *v, bool alone)
{
    v->untold = true;
    (void)snprintf(v->nobody.name, sizeof(v->nobody.name), "%s", CRASHED_BY_UNKNOWN);
    add(v, &v->nobody, NULL, alone);
}

void verdict_reach(struct verdict *v, const struct proc_end *end, bool alone, bool no_memory)
{
    const struct blame_death *anonymous;
    *v = (struct verdict){.end = end, .no_memory = no_memory};
    if (!blame_is_sound(end->page)) {
        suspect_all(v, alone);
        return;
    }
    take_accounts(v, &anonymous);
    if (v->count > 0) {
        add_unsteady(v, anonymous);
        return;
    }
    gather(v, was_cut_off(end) ? is_busy_or_left_lately : is_busy, anonymous);
    if (v->count == 1 && anonymous == NULL && end->signal != SIGKILL && !was_cut_off(end))
        v->of[0].certain = true;
    if (v->count == 0) /* of one that was stopped nobody knows how long it has been just before */
        gather(v, end->stopped_ms > 0 ? was_left_once : was_left_lately, anonymous);
    if (v->count == 0 && alone)
        gather(v, was_left_once, anonymous);
    v->anonymous = anonymous;
    if (alone && v->count > 0)
        choose_one(v);
}

const struct blamed *verdict_on(const struct verdict *v, const struct aiki_id *run)
{
    if (v->untold)
        return &v->of[0];
    for (unsigned i = 0; i < v->count; i++)
        if (id_equal(&v->of[i].slot->run, run))
            return &v->of[i];
    return NULL;
}

/* ---- the event ----------------------------------------------------------------------------- */

static int signal_of(const struct verdict *v, const struct blamed *b)
{
    uint32_t left = b->death != NULL ? b->death->signal : NSIG;
    return left < NSIG ? (int)left : v->end->signal; /* 0: it called exit(), whatever came of that */
}

static const char *memory_text(const struct proc_end *end, char text[MEMORY_TEXT_SIZE])
{
    text[0] = '\0';
    if (end->memory_bytes >> 20 > 0)
        snprintf(text, MEMORY_TEXT_SIZE, " (it had %" PRIu64 " MiB when it was looked at last)", end->memory_bytes >> 20);
    return text;
}

/* Slot + 1 of who left the account; 0: there is none. */
static unsigned teller_of(const struct blame_death *d)
{
    return d != NULL ? atomic_load_explicit(&d->thread, memory_order_acquire) : 0;
}

static bool is_own(const struct verdict *v, const struct blamed *b)
{
    unsigned teller = teller_of(b->death);
    return teller == 0 || (teller <= BLAME_SLOTS && &v->end->page->slots[teller - 1] == b->slot);
}

static const char *circumstance(const struct verdict *v, const struct blamed *b)
{
    if (b->death != NULL && b->death->no_memory == 1)
        return "; out of memory: it had asked for some and was refused (ENOMEM)";
    if (teller_of(b->death) > BLAME_SLOTS)
        return ", in a thread that plugin code had started, for this run or another one";
    if (!is_own(v, b))
        return ", in code of the host: look for what is left behind in memory, descriptors and threads";
    return is_busy(b->slot) ? "" : " after it had returned: look for what it leaves behind in memory, descriptors and threads";
}

static void describe(const struct verdict *v, const struct blamed *b, const char *what, aiki_error *err)
{
    int signal = signal_of(v, b);
    char refused[SANDBOX_EXPLAIN_SIZE], limit[LIMIT_TEXT_SIZE], end[PROC_END_TEXT_SIZE], memory[MEMORY_TEXT_SIZE];
    if (v->untold)
        (void)error_code(err, AIKI_CRASHED, "CRASH_UNTOLD",
                         "code in the process of this run wrote over what its host keeps of its threads, so what was executed "
                         "is unknown; the end of the process: %s",
                         proc_end_text(v->end, end, sizeof(end)));
    else if (b->death == NULL && v->end->limit != NULL)
        (void)error_code(err, AIKI_CRASHED, "CRASH_LIMIT", "the process of %s was ended: %s", what,
                         limit_text(v->end->limit, limit));
    else if (b->death != NULL && b->death->overflow)
        (void)error_code(err, AIKI_CRASHED, "CRASH_STACK_OVERFLOW",
                         "%s used up its stack and ended its process; put large buffers into memory "
                         "of the host, do without deep recursion",
                         what);
    else if (b->death != NULL && b->death->refused != 0)
        (void)error_code(err, AIKI_CRASHED, "SANDBOX_REFUSED", "%s %s", what,
                         sandbox_explain(b->death->refused - 1, refused));
    else if (b->death == NULL && signal == SIGSYS) /* a filter's signal that was blocked: no handler saw the call */
        (void)error_code(err, AIKI_CRASHED, "SANDBOX_REFUSED",
                         "%s makes a call that its sandbox refuses, with signals blocked, as system() and posix_spawn() do to "
                         "start a program; if it is to, add \"processes\" to what the setting sandbox says of its file",
                         what);
    else if (b->death == NULL && v->end->stopped_ms > 0)
        (void)error_code(err, AIKI_CRASHED, "CRASH_STOPPED",
                         "the process of %s was stopped by a signal (SIGSTOP, or for want of a terminal) for %" PRId64 " ms "
                         "and ended; look who stops processes there: the code itself, or a person",
                         what, v->end->stopped_ms);
    else if (signal == SIGKILL && v->no_memory)
        (void)error_code(err, AIKI_CRASHED, "CRASH_NO_MEMORY",
                         "the kernel killed the process of %s because no memory was left%s; let it take "
                         "less at a time, or give the host or its control group more",
                         what, memory_text(v->end, memory));
    else if (signal == SIGKILL)
        (void)error_code(err, AIKI_CRASHED, "CRASH_KILLED",
                         "the process of %s was killed by signal 9, not by the kernel for want of "
                         "memory%s: somebody did it, or its own code",
                         what, memory_text(v->end, memory));
    else if (signal != 0)
        (void)error_code(err, AIKI_CRASHED, "CRASH_SIGNAL", "%s ended its process by signal %d (%s)%s",
                         what, signal, strsignal(signal), circumstance(v, b));
    else if (was_cut_off(v->end))
        (void)error_code(err, AIKI_CRASHED, "CRASH_EXIT",
                         "the process of %s lost its connection to the runtime, because code in it closed descriptors that "
                         "are not its own",
                         what);
    else
        (void)error_code(err, AIKI_CRASHED, "CRASH_EXIT",
                         "%s ended its process with exit code %" PRId64 "; plugin code returns, it "
                         "does not exit, and leaves descriptors alone that are not its own",
                         what, v->end->exit_code);
}

static const char *thread_text(const struct verdict *v, const struct blamed *b, char text[THREAD_TEXT_SIZE])
{
    if (v->untold)
        return "unknown";
    if (teller_of(b->death) > BLAME_SLOTS)
        return "one that plugin code had started";
    unsigned number = (unsigned)(b->slot - v->end->page->slots);
    snprintf(text, THREAD_TEXT_SIZE, number == 0 ? "loop" : "task thread %u", number);
    return text;
}

/* Something else ended the process before the thread had said everything: there is no stack. */
static bool was_cut_short(const struct blame_death *d)
{
    return d != NULL && atomic_load_explicit(&d->told, memory_order_acquire) == 0 &&
           atomic_load_explicit(&d->stack_bytes, memory_order_acquire) == 0;
}

static const char *end_text(const struct proc_end *end, char text[END_TEXT_SIZE])
{
    if (end->signal != 0)
        snprintf(text, END_TEXT_SIZE, "signal %d", end->signal);
    else
        snprintf(text, END_TEXT_SIZE, "exit code %" PRId64, end->exit_code);
    return text;
}

static void put_text(aiki_writer *w, const char *key, const char *text)
{
    aiki_mp_str(w, key);
    aiki_mp_str(w, text);
}

static void write_details(const struct verdict *v, const struct blamed *b, aiki_writer *w)
{
    char thread[THREAD_TEXT_SIZE], end[END_TEXT_SIZE], hex[2 * ADDRESS_BYTES + 1];
    const struct blame_slot *s = b->slot;
    bool has_address = b->death != NULL && b->death->has_fault_address;
    bool is_task = s->attempt > 0, is_cut = was_cut_short(b->death);
    const struct limit_hit *limit = b->death == NULL ? v->end->limit : NULL;
    uint64_t of_limit = limit != NULL ? 3 : 0;
    aiki_mp_map(w, 3 + of_limit + (uint64_t)has_address + (uint64_t)is_task + (uint64_t)is_cut);
    aiki_mp_str(w, "signal");
    aiki_mp_int(w, signal_of(v, b));
    put_text(w, "thread", thread_text(v, b, thread));
    aiki_mp_str(w, "suspects");
    aiki_mp_uint(w, b->certain ? 1 : v->count - v->certain);
    if (limit != NULL) {
        put_text(w, "setting", limit_setting(limit->limit));
        aiki_mp_str(w, "limit");
        aiki_mp_uint(w, limit->allowed);
        aiki_mp_str(w, "found");
        aiki_mp_uint(w, limit->found);
    }
    if (has_address) {
        snprintf(hex, sizeof(hex), "0x%" PRIx64, b->death->fault_address);
        put_text(w, "fault_address", hex);
    }
    if (is_cut)
        put_text(w, "cut_short", end_text(v->end, end));
    if (is_task) { /* kind, name and input hashed: the same call of any run has the same */
        for (int i = 0; i < ADDRESS_BYTES; i++)
            snprintf(hex + 2 * i, 3, "%02x", s->address.bytes[i]);
        put_text(w, "input_hash", hex);
    }
}

/* The array of texts that the signal handler left, as far as it is one. A copy: who was forked by the
 * plugin may still write there. Answers how many there are. */
static unsigned read_stack(const struct blame_death *d, char lines[STACK_FRAMES_MAX][STACK_TEXT_BYTES_MAX + 1])
{
    unsigned size = d != NULL ? atomic_load_explicit(&d->stack_bytes, memory_order_acquire) : 0;
    uint8_t copy[BLAME_STACK_BYTES_MAX];
    unsigned count = 0;
    aiki_reader r;
    size = size <= sizeof(copy) ? size : 0;
    if (size > 0)
        memcpy(copy, d->stack, size);
    aiki_reader_init(&r, (aiki_view){copy, size});
    for (uint64_t n = size > 0 ? aiki_mp_read_array(&r) : 0; n > 0 && count < STACK_FRAMES_MAX; n--) {
        aiki_view line = aiki_mp_read_str(&r);
        if (r.status != AIKI_OK)
            break;
        (void)log_clean(line, lines[count++], sizeof(lines[0]));
    }
    return count;
}

static void write_stack(const struct blame_death *d, aiki_writer *w)
{
    char lines[STACK_FRAMES_MAX][STACK_TEXT_BYTES_MAX + 1];
    unsigned count = read_stack(d, lines);
    if (count == 0)
        return;
    aiki_mp_array(w, count);
    for (unsigned i = 0; i < count; i++)
        aiki_mp_str(w, lines[i]);
}

void verdict_log_stray(const struct verdict *v, const char *label)
{
    char lines[STACK_FRAMES_MAX][STACK_TEXT_BYTES_MAX + 1];
    const struct blame_death *d = v->anonymous;
    for (unsigned i = 0; i < v->count; i++)
        if (is_busy(v->of[i].slot))
            return; /* the history of that run has it */
    if (d == NULL)
        return;
    unsigned count = read_stack(d, lines);
    log_error("child", "%s: no code of a run was executed just then; %s by signal %u%s%s", label,
              teller_of(d) > BLAME_SLOTS ? "a thread that plugin code had started ended the process"
                                         : "the host ended the process, what was left behind may be why,",
              d->signal, count > 0 ? " at " : "", count > 0 ? lines[0] : "");
}

void verdict_write(const struct verdict *v, const struct blamed *b, aiki_view build,
                   aiki_writer *events, aiki_error *ret_text)
{
    const struct blame_slot *s = b->slot;
    uint8_t memory[VERDICT_DETAILS_BYTES_MAX];
    char name[BLAME_NAME_SIZE], what[BLAME_NAME_SIZE + 32];
    AUTO(buf) aiki_writer map, stack;
    aiki_writer details;
    uint32_t attempt = s->attempt;
    buf_init(&map);
    buf_init(&stack);
    aiki_view raw = {(const uint8_t *)s->name, strnlen(s->name, sizeof(s->name))};
    (void)log_clean(raw, name, sizeof(name));
    if (attempt > 0)
        snprintf(what, sizeof(what), "task %s, attempt %u", name, attempt);
    else
        snprintf(what, sizeof(what), "workflow %s", name);
    *ret_text = (aiki_error)AIKI_ERROR_INIT;
    describe(v, b, what, ret_text);
    aiki_writer_init_fixed(&details, memory, sizeof(memory));
    write_details(v, b, &details);
    write_stack(b->death, &stack);
    ret_text->details = aiki_writer_view(&details);
    error_write_stack(&map, ret_text, aiki_writer_view(&stack));
    ret_text->details = (aiki_view){NULL, 0};
    event_write_new(events, &(struct event){.kind = EVENT_CRASHED,
                                            .as.crashed = {.address = s->address,
                                                           .nth = s->nth,
                                                           .attempt = attempt,
                                                           .charged = b->certain,
                                                           .name = view_of(name),
                                                           .build = build,
                                                           .error = aiki_writer_view(&map)}});
}
