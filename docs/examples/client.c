/* client.c - an application that starts a workflow and waits for its result.
 *
 *   cc client.c $(pkg-config --cflags --libs aiki-client) -o client
 *   ./client 127.0.0.1:9090 world
 *
 * Needs a server, a runtime and the `hello` plugin: aiki dev --plugins DIR --data DIR
 */
#include <aiki/client.h>
#include <stdio.h>
#include <string.h>

static int complain(const char *what, const aiki_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", what, err->code, err->message);
    return 1;
}

/* {"greeting": "Hello, world!"} or whatever map of texts the workflow returns. */
static void print_output(aiki_view output)
{
    aiki_reader r;
    aiki_reader_init(&r, output);
    uint64_t pairs = aiki_mp_read_map(&r);
    for (uint64_t i = 0; i < pairs && r.status == AIKI_OK; i++) {
        aiki_view name = aiki_mp_read_str(&r);
        aiki_view text = aiki_mp_read_str(&r);
        if (r.status == AIKI_OK)
            printf("%.*s: %.*s\n", (int)name.size_bytes, (const char *)name.data,
                   (int)text.size_bytes, (const char *)text.data);
    }
}

static int greet(aiki_client *client, const char *name)
{
    aiki_error err = {.struct_size = sizeof(err)};
    uint8_t memory[256];
    aiki_writer input;
    aiki_writer_init_fixed(&input, memory, sizeof(memory));
    aiki_mp_map(&input, 1);
    aiki_mp_str(&input, "name");
    aiki_mp_str(&input, name);
    if (input.status != AIKI_OK) {
        fprintf(stderr, "the name is too long\n");
        return 1;
    }

    /* The key makes a repeated call find the same run instead of starting a second one. */
    char key[300];
    snprintf(key, sizeof(key), "greet-%s", name);
    aiki_start start = {.struct_size = sizeof(start),
                        .workflow = "hello",
                        .input = aiki_writer_view(&input),
                        .key = key};
    char run_id[AIKI_RUN_ID_SIZE];
    bool created;
    if (aiki_client_start(client, &start, run_id, &created, &err) != AIKI_OK)
        return complain("start", &err);
    printf("run %s%s\n", run_id, created ? "" : " (started earlier)");

    const aiki_outcome *outcome = NULL;
    aiki_status st = aiki_client_wait(client, run_id, 10000, &outcome, &err);
    if (st == AIKI_OK)
        print_output(outcome->output);
    else
        (void)complain("wait", &err);
    aiki_client_free(outcome);
    return st == AIKI_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    aiki_error err = {.struct_size = sizeof(err)};
    aiki_client *client;
    if (argc != 3) {
        fprintf(stderr, "usage: client SERVER NAME\n");
        return 2;
    }
    if (aiki_client_open(argv[1], NULL, &client, &err) != AIKI_OK)
        return complain("open", &err);
    int status = greet(client, argv[2]);
    aiki_client_close(client);
    return status;
}
