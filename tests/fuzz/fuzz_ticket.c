/* fuzz_ticket.c - what stands in Redis, and ids and names that people type. */
#include "fuzz.h"

#include "wire/keys.h"

static void check_ticket(aiki_view bytes)
{
    struct ticket t, back;
    uint8_t written[TICKET_BYTES_MAX];
    aiki_error err = AIKI_ERROR_INIT;
    if (ticket_read(bytes, &t, &err) != AIKI_OK) {
        CHECK(err.status == AIKI_CORRUPT && err.message[0] != '\0');
        return;
    }
    uint64_t size = ticket_write(written, &t);
    CHECK(size <= TICKET_BYTES_MAX);
    CHECK(ticket_read((aiki_view){written, size}, &back, NULL) == AIKI_OK);
    CHECK(id_equal(&t.run, &back.run) && t.epoch == back.epoch);
}

static void check_text(aiki_view text)
{
    char key[STREAM_KEY_SIZE], printed[AIKI_ID_TEXT_SIZE];
    struct aiki_id id, back;
    if (stream_key(key, "space", text, text) == AIKI_OK)
        CHECK(name_is_valid(text) && strlen(key) < STREAM_KEY_SIZE);
    if (id_parse((const char *)text.data, text.size_bytes, &id, NULL) != AIKI_OK)
        return;
    id_text(&id, printed);
    CHECK(id_parse(printed, strlen(printed), &back, NULL) == AIKI_OK && id_equal(&id, &back));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_ticket((aiki_view){data, size});
    check_text((aiki_view){data, size});
    return 0;
}
