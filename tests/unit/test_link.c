/* test_link.c - a connection to a real redis-server that is killed, stopped and started again. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/link.h"
#include "base/link_url.h"

struct fixture {
    uv_loop_t loop;
    struct link *link;
    char dir[32], socket[64], url[80], port[8];
    int port_fd; /* -1: none */
    pid_t redis;
    unsigned ups, downs, closed, replies, null_replies;
    unsigned send_on_up;    /* INCRs */
    bool close_on_up, close_on_down, close_on_reply, reset_on_reply;
    char why[200], last[400];
};

static bool give_up;
static void on_limit(uv_timer_t *timer)
{
    (void)timer;
    give_up = true;
}

static void on_reply(redisAsyncContext *context, void *data, void *arg)
{
    struct fixture *f = arg;
    const redisReply *reply = data;
    (void)context;
    if (reply == NULL) {
        f->null_replies++;
        assert_null(link_context(f->link));
        return;
    }
    f->replies++;
    (void)snprintf(f->last, sizeof(f->last), "%s",
                   reply->str != NULL ? reply->str : "(no text)");
    if (f->close_on_reply)
        link_close(f->link);
    if (f->reset_on_reply && f->replies == 1)
        link_reset(f->link, "test");
}

static void on_up(struct link *l, void *arg)
{
    struct fixture *f = arg;
    f->ups++;
    assert_non_null(link_context(l));
    for (unsigned i = 0; i < f->send_on_up; i++)
        assert_int_equal(redisAsyncCommand(link_context(l), on_reply, f, "INCR n"), REDIS_OK);
    if (f->close_on_up)
        link_close(l);
}

static void on_down(struct link *l, const char *why, void *arg)
{
    struct fixture *f = arg;
    f->downs++;
    assert_null(link_context(l));
    (void)snprintf(f->why, sizeof(f->why), "%s", why);
    if (f->close_on_down)
        link_close(l);
}

static void on_closed(struct link *l, void *arg)
{
    struct fixture *f = arg;
    (void)l;
    f->closed++;
    f->link = NULL;
}

static const struct link_callbacks callbacks = {
    .on_up = on_up, .on_down = on_down, .on_closed = on_closed};

/* A time limit, so that a connection that never reports is a failure and not a hang. */
static void run_until(struct fixture *f, const unsigned *what, unsigned at_least)
{
    uv_timer_t limit;
    give_up = false;
    (void)uv_timer_init(&f->loop, &limit);
    (void)uv_timer_start(&limit, on_limit, 20000, 0);
    while (*what < at_least && !give_up)
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&limit, NULL);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_false(give_up);
}

static void start_redis(struct fixture *f, const char *password)
{
    f->redis = fork();
    assert_true(f->redis >= 0);
    if (f->redis > 0)
        return;
    int null = open("/dev/null", O_WRONLY);
    (void)dup2(null, STDOUT_FILENO);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execlp("redis-server", "redis-server", "--port", f->port[0] != '\0' ? f->port : "0",
                 "--bind", "127.0.0.1", "--unixsocket", f->socket, "--save", "", "--appendonly",
                 "no", "--dir", f->dir, "--requirepass", password, (char *)NULL);
    _exit(127);
}

/* Bound and not listening: redis-server, which reuses addresses, may listen there, and the kernel gives the port to nobody else. */
static void choose_port(struct fixture *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);
    const int yes = 1;
    f->port_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(f->port_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
    assert_int_equal(bind(f->port_fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(getsockname(f->port_fd, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(f->port, sizeof(f->port), "%u", ntohs(at.sin_port));
}

static void kill_redis(struct fixture *f)
{
    if (f->redis > 0) {
        (void)kill(f->redis, SIGKILL);
        (void)waitpid(f->redis, NULL, 0);
    }
    f->redis = 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->dir, "/tmp/aiki-link-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->socket, sizeof(f->socket), "%s/redis.sock", f->dir);
    (void)snprintf(f->url, sizeof(f->url), "unix:%s", f->socket);
    f->port_fd = -1;
    assert_int_equal(uv_loop_init(&f->loop), 0);
    *state = f;
    return 0;
}

/* Closing leaves no handle behind, whatever state the link was in. */
static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->link != NULL)
        link_close(f->link);
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_null(f->link);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    kill_redis(f);
    cleanup_close_fd(&f->port_fd);
    (void)unlink(f->socket);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static void open_link(struct fixture *f)
{
    f->link = link_create(&f->loop, f->url, &callbacks, f);
    assert_non_null(f->link);
    assert_null(link_context(f->link));
}

/* Down from the start (reported once), up when the server comes, down when it is killed: pending
 * commands are answered NULL; up again with the next server. */
static void survives_kill_and_restart(void **state)
{
    struct fixture *f = *state;
    open_link(f);
    run_until(f, &f->downs, 1);
    assert_non_null(strstr(f->why, "No such file"));
    start_redis(f, "");
    f->send_on_up = 100;
    run_until(f, &f->replies, 100);
    assert_int_equal(f->ups, 1);
    assert_int_equal(f->downs, 1);

    (void)kill(f->redis, SIGSTOP);
    for (int i = 0; i < 5; i++)
        assert_int_equal(redisAsyncCommand(link_context(f->link), on_reply, f, "INCR n"), REDIS_OK);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    kill_redis(f);
    run_until(f, &f->downs, 2);
    assert_int_equal(f->null_replies, 5);

    start_redis(f, "");
    run_until(f, &f->ups, 2);
    run_until(f, &f->replies, 200);
}

/* More than the socket takes at once: the rest leaves when it is writable. */
static void large_commands_pass(void **state)
{
    struct fixture *f = *state;
    size_t size = 4 * 1024 * 1024;
    AUTO(free) char *value = malloc(size + 1);
    memset(value, 'v', size);
    value[size] = '\0';
    start_redis(f, "");
    open_link(f);
    run_until(f, &f->ups, 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(redisAsyncCommand(link_context(f->link), on_reply, f, "SET k %b", value, size),
                         REDIS_OK);
    run_until(f, &f->replies, 5);
    assert_string_equal(f->last, "OK");
}

static void expect_refused(struct fixture *f, const char *url, const char *why)
{
    f->downs = f->closed = 0;
    (void)snprintf(f->url, sizeof(f->url), "redis://%s127.0.0.1:%s", url, f->port);
    open_link(f);
    run_until(f, &f->downs, 1);
    assert_non_null(strstr(f->why, why));
    link_close(f->link);
    run_until(f, &f->closed, 1);
}

/* User, password and database of the url are used; without the password PING is refused. */
static void signs_in(void **state)
{
    struct fixture *f = *state;
    choose_port(f);
    start_redis(f, "s3cr:t");
    (void)snprintf(f->url, sizeof(f->url), "redis://default:s3cr%%3At@127.0.0.1:%s/7", f->port);
    open_link(f);
    run_until(f, &f->ups, 1);
    assert_int_equal(redisAsyncCommand(link_context(f->link), on_reply, f, "CLIENT INFO"), REDIS_OK);
    run_until(f, &f->replies, 1);
    assert_non_null(strstr(f->last, " db=7 "));
    link_close(f->link);
    run_until(f, &f->closed, 1);

    expect_refused(f, "", "PING: NOAUTH");
    expect_refused(f, ":wrong@", "AUTH: WRONGPASS");
    assert_int_equal(f->ups, 1);
}

/* A port where nobody listens is noticed, over TCP and by name. */
static void refused_is_noticed(void **state)
{
    struct fixture *f = *state;
    static const char *const urls[] = {"redis://127.0.0.1:9/2", "redis://localhost:9"};
    for (unsigned i = 0; i < ARRAY_COUNT(urls); i++) {
        (void)snprintf(f->url, sizeof(f->url), "%s", urls[i]);
        f->downs = 0;
        open_link(f);
        run_until(f, &f->downs, 1);
        assert_non_null(strstr(f->why, "Connection refused"));
        link_close(f->link);
        link_close(f->link);
        run_until(f, &f->closed, i + 1);
    }
    assert_int_equal(f->ups, 0);
}

/* link_close from each callback. */
static void close_from_callbacks(void **state)
{
    struct fixture *f = *state;
    f->close_on_down = true;
    open_link(f);
    run_until(f, &f->closed, 1);

    f->close_on_down = false;
    f->close_on_up = true;
    f->send_on_up = 3;
    start_redis(f, "");
    open_link(f);
    run_until(f, &f->closed, 2);
    assert_int_equal(f->null_replies, 3);

    f->close_on_up = false;
    f->close_on_reply = true;
    open_link(f);
    run_until(f, &f->closed, 3);
    assert_int_equal(f->replies, 1);
    assert_int_equal(f->null_replies, 5);

    open_link(f); /* before the loop ever ran */
    link_close(f->link);
    run_until(f, &f->closed, 4);
}

static void reset_connects_anew(void **state)
{
    struct fixture *f = *state;
    f->reset_on_reply = true;
    f->send_on_up = 2;
    start_redis(f, "");
    open_link(f);
    run_until(f, &f->ups, 1);
    run_until(f, &f->ups, 2);
    assert_string_equal(f->why, "test");
    run_until(f, &f->replies, 3);
    assert_int_equal(f->null_replies, 1);
}

static void urls_are_checked(void **state)
{
    (void)state;
    struct link_url u;
    aiki_error err = {0};
    assert_int_equal(link_url_parse("redis://u%40x:p%3Aw@[::1]:7000/3", &u, &err), AIKI_OK);
    assert_string_equal(u.user, "u@x");
    assert_string_equal(u.password, "p:w");
    assert_string_equal(u.endpoint.host, "::1");
    assert_int_equal(u.endpoint.port, 7000);
    assert_int_equal(u.db, 3);
    assert_string_equal(u.text, "[::1]:7000");
    assert_int_equal(link_url_parse("redis://:pw@host", &u, &err), AIKI_OK);
    assert_string_equal(u.text, "host:6379");
    assert_string_equal(u.user, "");
    static const char *const bad[] = {"", "http://x", "redis://", "redis://a:b:c", "redis://h/x",
                                      "redis://h/99999", "redis://pw@h", "redis://:%zz@h",
                                      "redis://:%0@h", "redis://:%00@h", "redis://:@h", "unix:"};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(link_url_parse(bad[i], &u, &err), AIKI_INVALID);
    assert_int_equal(link_url_parse("redis://:secret@h/db", &u, &err), AIKI_INVALID);
    assert_null(strstr(err.message, "secret"));
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(survives_kill_and_restart),
        CASE(large_commands_pass),
        CASE(signs_in),
        CASE(refused_is_noticed),
        CASE(close_from_callbacks),
        CASE(reset_connects_anew),
        cmocka_unit_test(urls_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
