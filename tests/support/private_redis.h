/* private_redis.h - a real redis-server of a unit test's own, on a unix socket in its own folder.
 *
 * Dies with the test. Failures fail the test.
 */
#ifndef SUPPORT_PRIVATE_REDIS_H
#define SUPPORT_PRIVATE_REDIS_H

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

struct private_redis {
    char dir[48], socket[64], url[80];
    pid_t pid;
    redisContext *direct; /* the test's own connection; NULL while it is down */
};

enum { PRIVATE_REDIS_CONNECT_TRIES = 2000 };

/* Make its folder; it does not run yet. */
static inline void private_redis_init(struct private_redis *p)
{
    (void)snprintf(p->dir, sizeof(p->dir), "/tmp/aiki-redis-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    (void)snprintf(p->socket, sizeof(p->socket), "%s/redis.sock", p->dir);
    (void)snprintf(p->url, sizeof(p->url), "unix:%s", p->socket);
}

/* Ready when the test's connection has its PONG. */
static inline void private_redis_start(struct private_redis *p)
{
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", p->socket,
                     "--save", "", "--appendonly", "no", "--dir", p->dir, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < PRIVATE_REDIS_CONNECT_TRIES; i++) {
        p->direct = redisConnectUnix(p->socket);
        assert_non_null(p->direct);
        redisReply *r = p->direct->err == 0 ? redisCommand(p->direct, "PING") : NULL;
        bool ready = r != NULL && r->type == REDIS_REPLY_STATUS;
        freeReplyObject(r);
        if (ready)
            return;
        redisFree(p->direct);
        p->direct = NULL;
        (void)poll(NULL, 0, 5); /* nothing to wait on before its socket is there */
    }
    fail_msg("redis-server does not answer");
}

static inline void private_redis_kill(struct private_redis *p)
{
    (void)kill(p->pid, SIGKILL);
    (void)waitpid(p->pid, NULL, 0);
    redisFree(p->direct);
    p->direct = NULL;
    (void)unlink(p->socket);
}

/* The reply to a command; not an error. */
static inline redisReply *private_redis_reply(struct private_redis *p, const char *format,
                                              va_list args)
{
    redisReply *r = redisvCommand(p->direct, format, args);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, r->str);
    return r;
}

#endif
