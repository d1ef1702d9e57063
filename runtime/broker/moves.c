/* moves.c - see moves.h. */
#include "broker/moves.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "wire/error.h"
#include "wire/event.h"

struct move {
    struct move *next, **link; /* of moves_list */
    struct moves_list *list;
    struct run *run;   /* whose it is */
    uint64_t number;   /* rises along the list */
    struct build_wanted wanted; /* its names point into the two below */
    char workflow[NAME_BYTES_MAX + 1], version[NAME_BYTES_MAX + 1];
    struct build *to;  /* chosen, its process starts; NULL = not chosen */
    bool reading;      /* the journal is on its way */
    int64_t since_mono_ms; /* it waits for a process since then; 0 = it does not */
    uint64_t load_ms;  /* how long it has */
    bool apart;        /* whichever build executes it: in a process with no other run in it */
    bool alone;        /* to such a process, of the build that follows */
    uint8_t of[BUILD_BYTES];
    aiki_writer error; /* what the first of them said: error map */
};

/* ---- all of them, in the order in which they began ------------------------------------------ */

void moves_list_init(struct moves_list *list)
{
    *list = (struct moves_list){.last = &list->first};
}

/* A process that is there for this run alone is for nobody then; who waits for its place is told when it has ended. */
static void turn_from(struct build *to)
{
    if (to != NULL)
        (void)build_left(to);
}

void move_destroy(struct move *move)
{
    if (move == NULL)
        return;
    struct build *to = move->to;
    *move->link = move->next;
    if (move->next != NULL)
        move->next->link = move->link;
    else
        move->list->last = move->link;
    move->list->ended++;
    buf_deinit(&move->error);
    free(move);
    turn_from(to);
}

void moves_hand_back(struct relay *r, struct conn *c, struct run *run)
{
    struct build *to = run->move->to;
    run->move->to = NULL;
    run->moving = false; /* a journal under way is nobody's then */
    relay_release(r, c, run);
    turn_from(to);
}

/* False: no memory. */
static bool begin_move(struct relay *r, struct run *run)
{
    struct moves_list *list = &r->moves;
    struct move *move = calloc(1, sizeof(*move));
    if (move == NULL)
        return false;
    *move = (struct move){.list = list, .link = list->last, .run = run, .number = ++list->begun};
    buf_init(&move->error);
    *list->last = move;
    list->last = &move->next;
    run->move = move;
    return true;
}

/* Runs that wait go on in the order of their tickets. What fn does may end the session, and with it all of them. */
static void each_move(struct relay *r, void (*fn)(struct run *run, void *arg), void *arg)
{
    struct move *next;
    for (struct move *move = r->moves.first; move != NULL; move = next) {
        uint64_t number = move->number, ended = r->moves.ended;
        next = move->next;
        fn(move->run, arg);
        if (r->moves.ended == ended)
            continue;
        for (next = r->moves.first; next != NULL && next->number <= number;)
            next = next->next;
    }
}

bool moves_want(const struct run *run, const struct build *b)
{
    return run->moving && run->move->to == b;
}

static void note_tried(struct move *move, const struct build *b)
{
    struct build_wanted *w = &move->wanted;
    if (w->tried_count < BUILD_TRIES_MAX)
        memcpy(w->tried[w->tried_count++], build_hash(b), BUILD_BYTES);
}

static bool is_revoked(const struct relay *r, const uint8_t *hash, aiki_error *ret)
{
    return r->cb.is_revoked != NULL && r->cb.is_revoked(hash, ret, r->arg);
}

/* The build that would fit was here, and may not be started: that is the reason, the difference is what
 * led to it. */
static void explain_revoked(struct relay *r, struct move *move)
{
    char hex[BUILD_HEX_SIZE];
    aiki_error why = AIKI_ERROR_INIT, err = AIKI_ERROR_INIT, cause = AIKI_ERROR_INIT;
    if (!is_revoked(r, move->wanted.last, &why))
        return;
    build_hex(move->wanted.last, hex);
    (void)error_code(&err, AIKI_DENIED, "BUILD_REVOKED",
                     "build %.8s executed it last and is not started any more: %s; a build that fits "
                     "lets it go on", hex, why.message);
    if (error_read(aiki_writer_view(&move->error), &cause, NULL, NULL) == AIKI_OK)
        err.cause = &cause;
    buf_clear(&move->error, 0);
    error_write(&move->error, &err);
}

/* No build here fits. Its row is to name the newest, whose return alone changes nothing. */
static void give_up(struct relay *r, struct run *run)
{
    struct move *move = run->move;
    struct conn *c = session_conn(r->session);
    run->moving = false;
    if (c == NULL)
        return; /* given back with everything else */
    if (move->error.size_bytes == 0) {
        relay_release(r, c, run);
        return;
    }
    if (move->wanted.tried_count > 1)
        conn_send(c, MOVED, 0, .run = run->id, .epoch = run->epoch,
                  .build = {move->wanted.tried[0], BUILD_BYTES});
    explain_revoked(r, move);
    relay_block(r, run, aiki_writer_view(&move->error));
}

static struct build *find_other(struct relay *r, const struct move *move, bool *ret_later)
{
    *ret_later = false;
    return r->cb.find_other != NULL ? r->cb.find_other(&move->wanted, ret_later, r->arg) : NULL;
}

/* Who executed it last is in the journal: only then is it certain where it goes. */
static void read_journal(struct relay *r, struct run *run)
{
    struct move *move = run->move;
    struct build *to = move->to;
    bool later;
    if (to == NULL && !move->alone)
        to = find_other(r, move, &later);
    move->reading = claims_read_again(r, run, to);
}

/* ---- a build does not fit ------------------------------------------------------------------ */

static void log_unfit(const struct run *run, const struct build *b, aiki_view error)
{
    char id[AIKI_ID_TEXT_SIZE];
    aiki_error err = {.struct_size = sizeof(err)};
    (void)error_read(error, &err, NULL, NULL);
    log_info("relay", "run %s does not fit %s: %s: %s", text_of(&run->id, id), build_label(b),
             err.code, err.message);
}

/* The stay that the frame is about, or NULL. */
static struct run *stay_of(struct relay *r, struct build *b, const struct msg_UNFIT *m)
{
    struct conn *c = session_conn(r->session); /* may end the session, so before the look-up */
    struct run *run = c != NULL ? runs_find(&r->runs, &m->run) : NULL;
    if (run == NULL || run->build != b || run->leaving || m->epoch != run->epoch ||
        run->number > 0)
        return NULL;
    return run;
}

void moves_unfit(struct relay *r, struct build *b, const struct frame *f)
{
    struct msg_UNFIT m;
    aiki_error err = {.struct_size = sizeof(err)};
    if (msg_UNFIT_read(f->payload, &m, &err) != AIKI_OK) {
        log_error("relay", "%s sent a damaged UNFIT; its process is killed", build_label(b));
        build_kill(b);
        return;
    }
    fault_point(runtime_unfit_read);
    struct run *run = stay_of(r, b, &m);
    if (run == NULL)
        return;
    run->build = NULL;
    (void)build_left(b); /* who waits for its place is told when it has ended */
    if (r->stopping) {
        relay_release(r, session_conn(r->session), run);
        return;
    }
    run->moving = true;
    if (run->move == NULL && !begin_move(r, run)) {
        session_renew(r->session, "out of memory"); /* gives everything back */
        return;
    }
    struct move *move = run->move;
    bool later;
    move->alone = false;
    log_unfit(run, b, m.error);
    if (move->error.size_bytes == 0)
        aiki_mp_raw(&move->error, m.error.data, m.error.size_bytes);
    note_tried(move, b);
    if (find_other(r, move, &later) == NULL && !later && !is_revoked(r, NULL, NULL))
        give_up(r, run);
    else
        read_journal(r, run);
}

void moves_wait_for(struct relay *r, struct run *run, struct build *b, int64_t since_mono_ms)
{
    run->moving = true;
    if (!begin_move(r, run)) {
        session_renew(r->session, "out of memory"); /* gives everything back */
        return;
    }
    run->move->to = b;
    run->move->since_mono_ms = since_mono_ms;
}

/* False: there is no room, it waits on. */
static bool find_process(struct relay *r, struct run *run)
{
    struct conn *c = session_conn(r->session);
    bool later = false;
    run->move->to = r->cb.find_alone(run->move->of, &later, r->arg);
    if (run->move->to != NULL || later || c == NULL)
        return !later;
    run->moving = false;
    relay_release(r, c, run);
    return true;
}

static void find_process_of(struct relay *r, struct run *run, const struct build *of)
{
    run->move->to = NULL;
    run->move->alone = true;
    memcpy(run->move->of, build_hash(of), BUILD_BYTES);
    (void)find_process(r, run);
}

void moves_wait_alone(struct relay *r, struct run *run, struct build *of)
{
    moves_wait_for(r, run, NULL, clock_mono_ms());
    if (run->move == NULL)
        return;
    run->move->apart = true;
    find_process_of(r, run, of);
}

/* It waits for a process of its own, of any build or of that one. */
static bool waits_alone(const struct run *run, const uint8_t *of)
{
    return run->moving && run->move->alone && run->move->to == NULL &&
           (of == NULL || memcmp(run->move->of, of, BUILD_BYTES) == 0);
}

struct search {
    struct relay *relay;
    uint8_t full[BUILD_BYTES]; /* there is no room for this one */
};

static void on_solo_free(struct run *run, void *arg)
{
    struct search *search = arg;
    if (!waits_alone(run, NULL) || waits_alone(run, search->full) || run->move->reading)
        return;
    uint8_t of[BUILD_BYTES];
    memcpy(of, run->move->of, BUILD_BYTES);
    if (!find_process(search->relay, run))
        memcpy(search->full, of, BUILD_BYTES);
}

void moves_solo_free(struct relay *r)
{
    struct search search = {.relay = r};
    if (session_conn(r->session) != NULL) /* otherwise nothing is held */
        each_move(r, on_solo_free, &search);
}

/* ---- the next one -------------------------------------------------------------------------- */

/* Who executed the run last. A stay that did nothing but block it has executed nothing. *claimed: the build of
 * the stay that begins with the event before, which may have been on another page. */
static void find_last_build(aiki_view page, aiki_view *claimed, uint8_t ret[BUILD_BYTES])
{
    aiki_reader reader;
    struct event e;
    aiki_reader_init(&reader, page);
    while (event_read_stored(&reader, &e, NULL) == AIKI_OK) {
        if (claimed->size_bytes == BUILD_BYTES && e.kind != EVENT_BLOCKED)
            memcpy(ret, claimed->data, BUILD_BYTES);
        *claimed = e.kind == EVENT_CLAIMED ? e.as.claimed.build : (aiki_view){NULL, 0};
    }
}

static void set_text(char to[NAME_BYTES_MAX + 1], aiki_view from)
{
    size_t n = from.size_bytes > NAME_BYTES_MAX ? NAME_BYTES_MAX : (size_t)from.size_bytes;
    memcpy(to, from.data, n);
    to[n] = '\0';
}

static void learn(struct move *move, const struct msg_CLAIMED *m, aiki_view pages)
{
    aiki_reader reader;
    aiki_view claimed = {NULL, 0};
    set_text(move->workflow, m->workflow);
    set_text(move->version, m->version);
    move->wanted.workflow = view_of(move->workflow);
    move->wanted.version = view_of(move->version);
    for (aiki_reader_init(&reader, pages); aiki_reader_left(&reader) > 0;)
        find_last_build(aiki_mp_read_bin(&reader), &claimed, move->wanted.last);
}

static void hand_over(struct relay *r, struct run *run, struct build *b,
                      const struct msg_CLAIMED *m, aiki_view pages)
{
    char id[AIKI_ID_TEXT_SIZE];
    struct conn *server = session_conn(r->session);
    if (server == NULL)
        return; /* everything is given back */
    if (run->move->alone || run->move->wanted.tried_count > 0)
        log_info("relay", "run %s goes on with %s%s", text_of(&run->id, id), build_label(b),
                 run->move->alone ? ", alone" : "");
    if (!run->move->alone || run->move->wanted.tried_count > 0) /* else the build it was claimed for */
        conn_send(server, MOVED, 0, .run = run->id, .epoch = run->epoch,
                  .build = {build_hash(b), BUILD_BYTES}, .load_ms = run->move->load_ms);
    fault_point(runtime_moved_sent);
    run->moving = false;
    run->move->to = NULL;
    run->build = b;
    relay_assign(build_assignable(b), m, pages);
}

/* Its process is not there, or not any more. One for a run alone is on its way. */
static void wait_on(struct relay *r, struct run *run)
{
    struct move *move = run->move;
    struct conn *c = session_conn(r->session);
    if (move->alone)
        return;
    move->since_mono_ms = clock_mono_ms();
    if (build_wake(move->to))
        return;
    move->to = NULL;
    run->moving = false;
    if (c != NULL) /* otherwise nothing is held */
        relay_release(r, c, run);
}

void moves_go_on(struct relay *r, struct run *run, const struct msg_CLAIMED *m, aiki_view pages)
{
    struct move *move = run->move;
    bool later = false;
    move->reading = false;
    learn(move, m, pages);
    if (move->to == NULL && move->alone)
        (void)find_process(r, run);
    else if (move->to == NULL)
        move->to = find_other(r, move, &later);
    if (run->moving && move->apart && !move->alone && move->to != NULL)
        find_process_of(r, run, move->to);
    if (!run->moving)
        return;
    if (move->to == NULL && !later && !move->alone) {
        give_up(r, run);
    } else if (move->to != NULL && build_assignable(move->to) != NULL) {
        hand_over(r, run, move->to, m, pages);
    } else if (move->to != NULL) {
        wait_on(r, run);
    }
}

/* ---- news of builds ------------------------------------------------------------------------ */

struct news {
    struct relay *relay;
    struct build *build;
};

static void on_ready(struct run *run, void *arg)
{
    const struct news *news = arg;
    if (!moves_want(run, news->build))
        return;
    struct move *move = run->move;
    if (move->since_mono_ms != 0)
        move->load_ms += (uint64_t)(clock_mono_ms() - move->since_mono_ms) + 1; /* a begun one counts: 0 is no wait */
    move->since_mono_ms = 0;
    if (!move->reading)
        read_journal(news->relay, run);
}

void moves_build_ready(struct relay *r, struct build *b)
{
    struct news news = {r, b};
    if (session_conn(r->session) != NULL) /* otherwise nothing is held */
        each_move(r, on_ready, &news);
}

static void on_dropped(struct run *run, void *arg)
{
    const struct news *news = arg;
    if (!moves_want(run, news->build))
        return;
    run->move->to = NULL;
    if (run->move->alone) {
        if (!run->move->reading)
            (void)find_process(news->relay, run);
        return;
    }
    note_tried(run->move, news->build);
    if (!run->move->reading)
        read_journal(news->relay, run);
}

void moves_build_dropped(struct relay *r, struct build *b)
{
    struct news news = {r, b};
    if (session_conn(r->session) != NULL)
        each_move(r, on_dropped, &news);
}

static void on_given_up(struct run *run, void *arg)
{
    const struct news *news = arg;
    struct conn *c = session_conn(news->relay->session);
    if (c == NULL || !(moves_want(run, news->build) || waits_alone(run, build_hash(news->build))))
        return;
    moves_hand_back(news->relay, c, run);
}

void moves_build_given_up(struct relay *r, struct build *b)
{
    struct news news = {r, b};
    if (session_conn(r->session) != NULL)
        each_move(r, on_given_up, &news);
}

struct exchange {
    struct build *from, *to;
};

static void on_replaced(struct run *run, void *arg)
{
    const struct exchange *exchange = arg;
    if (moves_want(run, exchange->from))
        run->move->to = exchange->to;
}

void moves_build_replaced(struct relay *r, struct build *b, struct build *by)
{
    struct exchange exchange = {b, by};
    each_move(r, on_replaced, &exchange);
}

static void hand_back(struct run *run, void *arg)
{
    struct relay *r = arg;
    struct conn *c = run->moving ? session_conn(r->session) : NULL;
    if (c != NULL)
        moves_hand_back(r, c, run);
}

void moves_stop(struct relay *r)
{
    if (session_conn(r->session) != NULL)
        each_move(r, hand_back, r);
}
