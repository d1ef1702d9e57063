/* client_async.c - many runs at once on one connection, without a thread for each.
 *
 *   cc client_async.c $(pkg-config --cflags --libs aiki-client) -pthread -o client_async
 *   ./client_async 127.0.0.1:9090 100
 *
 * Payloads are raw msgpack here; client.c shows records. Callbacks run on the client's thread.
 */
#include <aiki/client.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct tally {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int open, completed;
};

/* Called once for each run: when it ended, or when its start was refused. */
static void on_outcome(void *arg, aiki_status status, const aiki_outcome *outcome,
                       const aiki_error *err)
{
    struct tally *t = arg;
    (void)outcome; /* its output is here until this function returns */
    if (status != AIKI_OK)
        fprintf(stderr, "%s: %s\n", err->code, err->message);
    pthread_mutex_lock(&t->lock);
    t->open--;
    t->completed += status == AIKI_OK;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* {"name": "guest N"}; copied before the call returns. */
static aiki_status start_one(aiki_client *client, int number, struct tally *t, aiki_error *err)
{
    uint8_t memory[64];
    char name[32];
    aiki_writer input;
    snprintf(name, sizeof(name), "guest %d", number);
    aiki_writer_init_fixed(&input, memory, sizeof(memory));
    aiki_mp_map(&input, 1);
    aiki_mp_str(&input, "name");
    aiki_mp_str(&input, name);
    const aiki_start start = {
        .struct_size = sizeof(start), .workflow = "hello", .input = aiki_writer_view(&input)};
    return aiki_client_start_async(client, &start, NULL, on_outcome, t, err);
}

static int start_all(aiki_client *client, int count, struct tally *t)
{
    aiki_error err = AIKI_ERROR_INIT;
    for (int i = 0; i < count; i++) {
        pthread_mutex_lock(&t->lock);
        t->open++;
        pthread_mutex_unlock(&t->lock);
        if (start_one(client, i, t, &err) != AIKI_OK) { /* no callback will come */
            fprintf(stderr, "start: %s: %s\n", err.code, err.message);
            pthread_mutex_lock(&t->lock);
            t->open--;
            pthread_mutex_unlock(&t->lock);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    aiki_error err = AIKI_ERROR_INIT;
    aiki_client *client;
    struct tally t = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    if (argc != 3) {
        fprintf(stderr, "usage: client_async SERVER COUNT\n");
        return 2;
    }
    if (aiki_client_open(argv[1], NULL, &client, &err) != AIKI_OK) {
        fprintf(stderr, "open: %s: %s\n", err.code, err.message);
        return 1;
    }
    int count = atoi(argv[2]);
    int failed = start_all(client, count, &t);
    pthread_mutex_lock(&t.lock);
    while (t.open > 0)
        pthread_cond_wait(&t.changed, &t.lock);
    pthread_mutex_unlock(&t.lock);
    aiki_client_close(client); /* after this no callback runs */
    printf("%d of %d completed\n", t.completed, count);
    return failed != 0 || t.completed < count;
}
