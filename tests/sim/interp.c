/* interp.c - executes a program: the one way there is, on the real replay and on the oracle's model. */
#include <string.h>

#include "sim.h"

enum { OPEN_MAX = 6 }; /* futures under way at once, then the program waits for all */

enum step_status step_status_of(uint64_t outcome, bool with_error)
{
    switch (outcome) {
    case OUTCOME_OK: return STEP_GOOD;
    case OUTCOME_TIMEDOUT: return STEP_LATE;
    case OUTCOME_CANCELLED: return with_error ? STEP_STOPPED : STEP_CUT;
    default: return STEP_BAD;
    }
}

static void mix_in(struct interp *i, uint64_t what, uint64_t value)
{
    i->sum = mix64(i->sum, mix64(what, value)) >> 1;
}

/* What nobody but the program itself decided needs no record. */
static void see(struct interp *i, uint32_t at, enum step_status status, uint64_t value)
{
    mix_in(i, at * 8 + (uint64_t)status, status == STEP_GOOD ? value : 0);
    if (status != STEP_PENDING && status != STEP_CUT)
        i->seen[i->seen_count++] = i->futures[at];
}

static void close_at(struct interp *i, uint32_t place)
{
    memmove(&i->open[place], &i->open[place + 1],
            (i->open_count - place - 1) * sizeof(i->open[0]));
    i->open_count--;
}

/* Look at what is open: fold what is done. `pending_too`: the rest as well. */
static void look(struct interp *i, const struct machine *m, bool pending_too)
{
    for (uint32_t place = 0; place < i->open_count;) {
        uint64_t value = 0;
        enum step_status status = m->look(m->arg, i->futures[i->open[place]], &value);
        if (status != STEP_PENDING || pending_too)
            see(i, i->open[place], status, value);
        if (status != STEP_PENDING)
            close_at(i, place);
        else
            place++;
    }
}

static enum await_status wait(struct interp *i, const struct machine *m, bool last_only, bool any)
{
    uint32_t count = 0;
    if (i->waiting)
        return m->awaited(m->arg);
    for (uint32_t p = last_only ? i->open_count - 1 : 0; p < i->open_count; p++)
        i->awaited[count++] = i->futures[i->open[p]];
    return m->await(m->arg, i->awaited, count, any ? 1 : count);
}

/* AWAIT_OVER: what is done has been seen. */
static enum await_status await(struct interp *i, const struct machine *m, bool last_only, bool any)
{
    enum await_status status = wait(i, m, last_only, any);
    i->waiting = status == AWAIT_SUSPENDS;
    if (status != AWAIT_OVER)
        return status;
    if (!last_only) {
        look(i, m, false);
        return AWAIT_OVER;
    }
    uint64_t value = 0;
    uint32_t at = i->open[i->open_count - 1];
    see(i, at, m->look(m->arg, i->futures[at], &value), value);
    i->open_count--;
    return AWAIT_OVER;
}

static bool begin(struct interp *i, const struct machine *m, const struct op *op, uint64_t input)
{
    struct op call = *op;
    if (op->shared)
        call.input = op->input % 2; /* few, so that some agree */
    else if (op->kind == OP_TASK || op->kind == OP_CHILD)
        call.input = op->input < STEP_INPUTS ? op->input + (uint32_t)input * 10
                                             : (uint32_t)(i->sum & 0xffff) + 1000;
    uint32_t future = m->call(m->arg, &call);
    if (future == 0)
        return false;
    i->futures[i->future_count] = future;
    i->open[i->open_count++] = i->future_count++;
    return true;
}

/* What an operation leaves to be done. */
enum after { AFTER_NEXT, AFTER_WAIT, AFTER_CANCELLED, AFTER_BROKEN };

static enum after after_await(enum await_status status)
{
    static const enum after all[] = {[AWAIT_OVER] = AFTER_NEXT,
                                     [AWAIT_SUSPENDS] = AFTER_WAIT,
                                     [AWAIT_CANCELLED] = AFTER_CANCELLED};
    return all[status];
}

static enum after begin_with_room(struct interp *i, uint64_t input, const struct machine *m,
                                  const struct op *op)
{
    if (i->open_count == OPEN_MAX) {
        enum after after = after_await(await(i, m, false, false));
        if (after != AFTER_NEXT)
            return after;
    }
    return begin(i, m, op, input) ? AFTER_NEXT : AFTER_BROKEN;
}

static enum after take_side(struct interp *i, uint64_t input, const struct machine *m,
                            const struct op *op)
{
    if (!i->waiting && !begin(i, m, op, input))
        return AFTER_BROKEN;
    i->waiting = !m->side(m->arg, i->futures[i->future_count - 1]);
    if (i->waiting)
        return AFTER_WAIT;
    return await(i, m, true, false) == AWAIT_OVER ? AFTER_NEXT : AFTER_BROKEN;
}

static void drop(struct interp *i, const struct machine *m, const struct op *op)
{
    uint64_t value = 0;
    if (i->open_count == 0)
        return;
    uint32_t place = op->skip % i->open_count, at = i->open[place];
    m->cancel(m->arg, i->futures[at]);
    see(i, at, m->look(m->arg, i->futures[at], &value), value);
    close_at(i, place);
}

static void protect(struct interp *i, const struct machine *m, bool on)
{
    if (!on && i->depth == 0)
        return;
    i->depth += on ? 1 : UINT32_MAX;
    m->protect(m->arg, on);
}

static enum after go(struct interp *i, uint64_t input, const struct machine *m, const struct op *op)
{
    switch (op->kind) {
    case OP_TASK:
    case OP_SLEEP:
    case OP_SIGNAL: return begin_with_room(i, input, m, op);
    case OP_CHILD: return op->back && i->deep ? AFTER_NEXT : begin_with_room(i, input, m, op);
    case OP_SIDE: return take_side(i, input, m, op);
    case OP_ALL:
    case OP_ANY:
    case OP_LAST:
        if (i->open_count == 0)
            return AFTER_NEXT;
        return after_await(await(i, m, op->kind == OP_LAST, op->kind == OP_ANY));
    case OP_PEEK: look(i, m, true); return AFTER_NEXT;
    case OP_SKIP:
        if ((i->sum & 1) != 0)
            i->pc += op->skip;
        return AFTER_NEXT;
    case OP_FAIL:
        i->end = i->sum % 5 == 0 ? END_FAILED : END_GOOD;
        return AFTER_NEXT;
    case OP_DROP: drop(i, m, op); return AFTER_NEXT;
    case OP_PROTECT:
    case OP_EXPOSE: protect(i, m, op->kind == OP_PROTECT); return AFTER_NEXT;
    }
    return AFTER_BROKEN;
}

/* The run is to end: the program learns it, or is told so again. What is open has ended with it, but for
 * what was begun in protected scopes. */
static void learn_cancel(struct interp *i, const struct machine *m)
{
    if (!i->cancelled) {
        mix_in(i, 7, i->pc);
        i->seen[i->seen_count++] = SEEN_CANCEL;
    }
    i->cancelled = true;
    look(i, m, false);
    switch (i->program->on_cancel) {
    case ON_CANCEL_LEAVE: i->end = END_CANCELLED; break;
    case ON_CANCEL_CLEAN:
        i->cleaning = true;
        i->pc = i->program->count;
        protect(i, m, true);
        break;
    case ON_CANCEL_IGNORE: i->pc++; break;
    }
}

static bool at_end(const struct interp *i)
{
    const struct program *p = i->program;
    return i->end != END_GOOD || i->pc >= (i->cleaning ? p->count + p->cleanup_count : p->count);
}

/* Half of all programs leave what they started behind; the others wait for it. */
static enum after last_wait(struct interp *i, const struct machine *m)
{
    bool leaves = (i->program->count & 1) == 0;
    if (i->end != END_GOOD || i->open_count == 0 || leaves)
        return AFTER_NEXT;
    return after_await(await(i, m, false, false));
}

static enum interp_status finish(struct interp *i)
{
    if (i->cleaning && i->end == END_GOOD)
        i->end = END_CANCELLED;
    return INTERP_RETURNED;
}

enum interp_status interp_go(struct interp *i, uint64_t input, const struct machine *m)
{
    for (;;) {
        bool ends = at_end(i);
        enum after after = ends ? last_wait(i, m) : go(i, input, m, program_op(i->program, i->pc));
        switch (after) {
        case AFTER_WAIT: return INTERP_WAITS;
        case AFTER_BROKEN: return INTERP_BROKEN;
        case AFTER_CANCELLED:
            learn_cancel(i, m);
            if (ends && i->program->on_cancel == ON_CANCEL_IGNORE)
                return finish(i);
            break;
        case AFTER_NEXT:
            if (ends)
                return finish(i);
            i->pc++;
            break;
        }
    }
}
