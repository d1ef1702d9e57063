/* test_crew.c - work that hangs does not hold up other work, and all of it is done in the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "intake/crew.h"

enum { HANGING = CREW_MAX - 1, MANY = 3 * CREW_MAX };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    atomic_uint inside, most;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0, 0};

static struct crew crew;
static unsigned done;
static bool quick_done, closed;

static void hang(struct crew_job *job)
{
    (void)job;
    unsigned now = atomic_fetch_add(&gate.inside, 1) + 1, most = atomic_load(&gate.most);
    while (now > most && !atomic_compare_exchange_weak(&gate.most, &most, now))
        continue;
    pthread_mutex_lock(&gate.lock);
    while (!gate.open)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    atomic_fetch_sub(&gate.inside, 1);
}

static void set_gate(bool open)
{
    pthread_mutex_lock(&gate.lock);
    gate.open = open;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

static void do_little(struct crew_job *job)
{
    assert_non_null(job);
}

static void on_done(struct crew_job *job)
{
    assert_non_null(job);
    done++;
}

static void on_quick_done(struct crew_job *job)
{
    assert_non_null(job);
    quick_done = true;
}

static void on_closed(void *arg)
{
    assert_ptr_equal(arg, &crew);
    closed = true;
}

static void close_crew(uv_loop_t *loop)
{
    crew_close(&crew, on_closed, &crew);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    assert_true(closed);
    assert_int_equal(uv_loop_close(loop), 0);
}

static int set_up(void **state)
{
    static uv_loop_t loop;
    *state = &loop;
    done = 0;
    quick_done = closed = false;
    atomic_store(&gate.most, 0);
    set_gate(false);
    return uv_loop_init(&loop) != 0 || crew_init(&crew, &loop) != 0;
}

static void who_hangs_does_not_hold_up_others(void **state)
{
    static struct crew_job hanging[HANGING], quick;
    uv_loop_t *loop = *state;
    for (int i = 0; i < HANGING; i++)
        crew_run(&crew, &hanging[i], hang, on_done);
    crew_run(&crew, &quick, do_little, on_quick_done);
    while (!quick_done)
        (void)uv_run(loop, UV_RUN_ONCE);
    assert_int_equal(done, 0);
    set_gate(true);
    while (done < HANGING)
        (void)uv_run(loop, UV_RUN_ONCE);
    close_crew(loop);
}

static void no_more_than_the_limit_at_a_time(void **state)
{
    static struct crew_job jobs[MANY];
    uv_loop_t *loop = *state;
    for (int i = 0; i < MANY; i++)
        crew_run(&crew, &jobs[i], hang, on_done);
    while (atomic_load(&gate.inside) < CREW_MAX)
        (void)uv_run(loop, UV_RUN_ONCE);
    set_gate(true);
    while (done < MANY)
        (void)uv_run(loop, UV_RUN_ONCE);
    assert_int_equal(atomic_load(&gate.most), CREW_MAX);
    close_crew(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_hangs_does_not_hold_up_others, set_up),
        cmocka_unit_test_setup(no_more_than_the_limit_at_a_time, set_up),
    };
    return cmocka_run_group_tests_name("crew", tests, NULL, NULL);
}
