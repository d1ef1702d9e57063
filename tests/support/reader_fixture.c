/* reader_fixture.c - see reader_fixture.h. */
#include "support/reader_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "wire/frame.h"
#include "wire/message.h"

enum { PEER = 7, CORRELATION = 9 };

static void take_answer(struct fixture *f, const struct frame *frame)
{
    aiki_writer text;
    buf_init(&text);
    if (frame->type == WIRE_DOCUMENT) {
        struct msg_DOCUMENT m;
        assert_int_equal(msg_DOCUMENT_read(frame->payload, &m, NULL), AIKI_OK);
        assert_int_equal(msgpack_to_json(m.value, 0, &text, NULL), AIKI_OK);
    } else {
        struct msg_FAULT m;
        aiki_error err = AIKI_ERROR_INIT;
        assert_int_equal(msg_FAULT_read(frame->payload, &m, NULL), AIKI_OK);
        assert_int_equal(error_read(m.error, &err, NULL, NULL), AIKI_OK);
        aiki_mp_raw(&text, err.code, strlen(err.code));
    }
    aiki_mp_raw(&text, "", 1);
    free(f->answer);
    f->answer = (char *)text.data;
}

static void on_outcomes(void *arg, struct mail *list)
{
    struct fixture *f = arg;
    for (struct mail *m = list, *next; m != NULL; m = next) {
        struct outcome *o = container_of(m, struct outcome, mail);
        struct frame frame;
        uint64_t size;
        next = m->next;
        assert_int_equal(o->parcel_count, 1);
        assert_int_equal(o->parcels[0].peer, PEER);
        assert_int_equal(
            frame_read(aiki_writer_view(&o->parcels[0].frames), &frame, &size, NULL), AIKI_OK);
        assert_int_equal(frame.correlation, CORRELATION);
        take_answer(f, &frame);
        outcome_destroy(o);
    }
}

int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uv_loop_init(&f->loop);
    mailbox_init(&f->outbox, &f->loop, on_outcomes, f);
    assert_int_equal(store_open(&f->store, "memory:", NULL), AIKI_OK);
    assert_int_equal(reader_start(&f->reader, f->store, "test", 1ull << 32, NULL, &f->outbox, NULL),
                     AIKI_OK);
    *state = f;
    return 0;
}

int teardown(void **state)
{
    struct fixture *f = *state;
    reader_stop(f->reader);
    store_close(f->store);
    mailbox_close(&f->outbox, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f->answer);
    free(f);
    return 0;
}

const char *ask(struct fixture *f, const char *what, const char *args)
{
    aiki_writer map;
    buf_init(&map);
    assert_int_equal(json_to_msgpack(view_of(args), &map, NULL), AIKI_OK);
    free(f->answer);
    f->answer = NULL;
    assert_int_equal(reader_ask(f->reader, PEER, CORRELATION, view_of(what), aiki_writer_view(&map),
                                NULL, 0, NULL),
                     AIKI_OK);
    buf_deinit(&map);
    while (f->answer == NULL)
        uv_run(&f->loop, UV_RUN_ONCE);
    return f->answer;
}

const char *ask_about(struct fixture *f, const char *what, const struct aiki_id *run)
{
    char text[AIKI_ID_TEXT_SIZE], args[64];
    id_text(run, text);
    snprintf(args, sizeof(args), "{\"id\":\"%s\"}", text);
    return ask(f, what, args);
}

struct aiki_id add_run(struct fixture *f, const struct aiki_id *parent, uint64_t children,
                       uint32_t run_state, uint64_t flags)
{
    struct draft d;
    draft_init(&d, ++f->last_no);
    if (parent != NULL)
        d.write.row.parent = *parent;
    d.write.row.children = children;
    d.write.row.state = run_state;
    d.write.row.flags = flags;
    draft_save(f->store, &d);
    struct aiki_id id = d.write.row.id;
    draft_deinit(&d);
    return id;
}

unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}
