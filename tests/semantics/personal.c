/* personal.c - values with personal data in them, which history and inspect show without it.
 *
 *   personal {"name": NAME, "city": CITY, "homes": [{"street": STREET, "zip": ZIP}...], "tags": [...],
 *             "fault": "nothing|task|run"}
 *
 * Welcomes somebody: a child writes a letter, a task books it. Name, streets and tags are marked. With
 * "fault" the task fails, or the workflow itself.
 *
 *   personal-later {...}    the letter alone, after the signal "go"
 *   personal-talk {...}     values of which no schema speaks, and yet with names that are marked: it writes one
 *                           down, takes another by the signal "note", and a task and the run fail with it
 *   echo-anything ANY       answers its input, of which no schema speaks
 */
#include <string.h>

#include <aiki/record.h>

#define HOME(F, R)                                    \
    F(R, str, street, AIKI_REQUIRED, AIKI_PII)        \
    F(R, str, zip, AIKI_OPTIONAL)
AIKI_RECORD(home, HOME);
#define PERSON(F, R)                                                          \
    F(R, str, name, AIKI_REQUIRED, AIKI_PII)                                  \
    F(R, str, city, AIKI_OPTIONAL)                                            \
    F(R, list(record(home)), homes, AIKI_OPTIONAL)                            \
    F(R, list(str), tags, AIKI_OPTIONAL, AIKI_PII)                            \
    F(R, str, fault, AIKI_OPTIONAL, AIKI_ONE_OF("nothing|task|run"),          \
      AIKI_DEFAULT_TEXT("nothing"))
AIKI_RECORD(person, PERSON);
#define LETTER(F, R)                                  \
    F(R, str, to, AIKI_REQUIRED, AIKI_PII)            \
    F(R, i64, cents, AIKI_REQUIRED)
AIKI_RECORD(letter, LETTER);

static aiki_status book(aiki_call *call, const struct letter *in, struct letter *out)
{
    *out = *in;
    out->cents += 1;
    return in->cents < 0 ? aiki_fail_final(call, "NOT_BOOKED", "the letter costs less than nothing")
                         : AIKI_OK;
}
AIKI_TASK_TYPED(book, "book-letter", letter, letter);

static aiki_status write_letter(aiki_run *run, const struct person *in, struct letter *out,
                                aiki_error *err)
{
    (void)run;
    (void)err;
    out->to = in->name;
    out->cents = strcmp(in->fault, "task") == 0 ? -100 : 85;
    return AIKI_OK;
}
AIKI_WORKFLOW_TYPED(write_letter, "write-letter", "1.0.0", person, letter);

AIKI_CHILD_DECLARE(letter, "write-letter", "1.0.0", person, letter);

static aiki_status personal(aiki_run *run, const struct person *in, struct letter *out,
                            aiki_error *err)
{
    struct letter written;

    if (strcmp(in->fault, "run") == 0)
        return aiki_run_fail(run, "UNWELCOME", "nobody is welcomed today");
    AIKI_TRY(letter_child(run, in, &written, err));
    return book_call(run, &written, out, err);
}
AIKI_WORKFLOW_TYPED(personal, "personal", "1.0.0", person, letter);

static aiki_status later(aiki_run *run, const struct person *in, struct letter *out, aiki_error *err)
{
    AIKI_TRY(aiki_wait_signal(run, "go", AIKI_FOREVER_MS, NULL, err));
    return write_letter(run, in, out, err);
}
AIKI_WORKFLOW_TYPED(later, "personal-later", "1.0.0", person, letter);

/* {"street": "Via Appia", "answer": 42} */
static aiki_status put_address(void *arg, aiki_writer *w)
{
    (void)arg;
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "street");
    aiki_mp_str(w, "Via Appia");
    aiki_mp_str(w, "answer");
    aiki_mp_int(w, 42);
    return AIKI_OK;
}

static aiki_status complain(aiki_call *call, aiki_view input)
{
    aiki_error cause = AIKI_ERROR_INIT, top = AIKI_ERROR_INIT;
    aiki_writer details = aiki_call_writer(call);

    (void)input;
    (void)put_address(NULL, &details);
    cause.status = top.status = AIKI_FAILED;
    cause.details = top.details = aiki_writer_view(&details);
    top.cause = &cause;
    top.flags = AIKI_ERROR_FINAL;
    (void)call->api->heartbeat(call, aiki_writer_view(&details));
    return call->api->fail(call, &top);
}

static aiki_status talk(aiki_run *run, const struct person *in, struct letter *out, aiki_error *err)
{
    aiki_view value;

    (void)in;
    (void)out;
    AIKI_TRY(aiki_record_once(run, "address", put_address, NULL, &value, err));
    AIKI_TRY(aiki_wait_signal(run, "note", AIKI_FOREVER_MS, &value, err));
    return aiki_task(run, "complain", value, NULL, err);
}
AIKI_WORKFLOW_TYPED(talk, "personal-talk", "1.0.0", person, letter);

/* Nobody has said what it takes. */
static aiki_status echo(aiki_run *run, aiki_view input, aiki_error *err)
{
    (void)err;
    return run->api->output(run, input);
}

AIKI_PLUGIN("personal", "1.0.0",
            AIKI_WORKFLOWS(write_letter_workflow, personal_workflow, later_workflow, talk_workflow,
                           AIKI_WORKFLOW("echo-anything", "1.0.0", echo)),
            AIKI_TASKS(book_task, AIKI_TASK("complain", complain)));
