/* client.c - an application that starts a workflow and waits for its result.
 *
 *   cc client.c $(pkg-config --cflags --libs aiki-client) -o client
 *   ./client 127.0.0.1:9090 world
 *
 * Needs a server, a runtime and the `hello` plugin: aiki dev --plugins DIR --data DIR
 */
#include <aiki/client_record.h>
#include <stdio.h>

/* The same field lists as in plugins/hello/hello.c; a real project shares a header. */
#define HELLO_INPUT(F, R)  F(R, str, name, AIKI_REQUIRED, AIKI_LENGTH(1, 100))
#define HELLO_OUTPUT(F, R) F(R, str, greeting, AIKI_REQUIRED)
AIKI_RECORD(hello_input, HELLO_INPUT);
AIKI_RECORD(hello_output, HELLO_OUTPUT);
AIKI_CLIENT_WORKFLOW(hello, "hello", hello_input, hello_output);

static int complain(const char *what, const aiki_error *err)
{
    fprintf(stderr, "%s: %s: %s\n", what, err->code, err->message);
    return 1;
}

static int greet(aiki_client *client, const char *name)
{
    aiki_error err = AIKI_ERROR_INIT;
    const struct hello_input input = {.name = name};

    /* The key makes a repeated call find the same run instead of starting a second one. */
    char key[300];
    snprintf(key, sizeof(key), "greet-%s", name);
    const aiki_start options = {.struct_size = sizeof(options), .key = key};
    char run_id[AIKI_RUN_ID_SIZE];
    bool created;
    if (hello_start(client, &input, &options, run_id, &created, &err) != AIKI_OK)
        return complain("start", &err);
    printf("run %s%s\n", run_id, created ? "" : " (started earlier)");

    struct hello_output output;
    aiki_kept kept = {0};
    aiki_status st = hello_result(client, run_id, 10000, &output, &kept, &err);
    if (st == AIKI_OK)
        printf("%s\n", output.greeting);
    else
        (void)complain("result", &err);
    aiki_kept_free(&kept);
    return st == AIKI_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    aiki_error err = AIKI_ERROR_INIT;
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
