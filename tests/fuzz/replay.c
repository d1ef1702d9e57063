/* replay.c - run a fuzz target without libFuzzer: seeds, what is cut off them, small damage.
 *
 *   fuzz_X MUTATIONS DIRECTORY...
 *
 * Every compiler can build this, so each ordinary test run passes over all decoders. The damage
 * comes from a fixed generator: the same build does the same every time.
 */
#include <dirent.h>
#include <errno.h>

#include "fuzz.h"

enum { SEED_BYTES_MAX = FUZZ_INPUT_BYTES_MAX, PATH_SIZE = 4096, DAMAGED_BYTES_MAX = 6 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* In memory of exactly this size, so that sanitizers see a read too far. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    CHECK(exact != NULL);
    memcpy(exact, data, size);
    (void)LLVMFuzzerTestOneInput(exact, size); /* always 0 */
    free(exact);
}

/* Overwrite, insert, remove or repeat a few bytes; returns the new size. */
static size_t damage(uint8_t *data, size_t size, uint64_t *state)
{
    /* Tags and lengths do more than noise. */
    static const uint8_t telling[] = {0x00, 0x7f, 0x80, 0x90, 0xa0, 0xc0, 0xc1, 0xc4, 0xc6,
                                      0xca, 0xcf, 0xd3, 0xd9, 0xdb, 0xdd, 0xdf, 0xe0, 0xff};
    for (uint64_t n = 1 + next_random(state) % DAMAGED_BYTES_MAX; n > 0 && size > 1; n--) {
        size_t at = next_random(state) % size;
        uint64_t dice = next_random(state);
        uint8_t byte =
            dice % 3 == 0 ? (uint8_t)(dice >> 8) : telling[(dice >> 8) % sizeof(telling)];
        switch ((dice >> 16) % 4) {
        case 0:
        case 1: data[at] = byte; break;
        case 2:
            memmove(data + at, data + at + 1, size - at - 1);
            size--;
            break;
        default:
            memmove(data + at + 1, data + at, size - at);
            data[at] = byte;
            size++;
            break;
        }
    }
    return size;
}

static void run_seed(const char *path, unsigned long mutations)
{
    static uint8_t seed[SEED_BYTES_MAX], damaged[SEED_BYTES_MAX + DAMAGED_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    size_t size = fread(seed, 1, sizeof(seed), file);
    (void)fclose(file); /* only read from */
    for (size_t n = 0; n < size && n < 2000; n++)
        run(seed, n);
    run(seed, size);
    uint64_t state = 0x9e3779b97f4a7c15u + size;
    for (unsigned long i = 0; i < mutations; i++) {
        memcpy(damaged, seed, size);
        run(damaged, damage(damaged, size, &state));
    }
}

int main(int argc, char **argv)
{
    unsigned long mutations = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long seeds = 0;
    for (int i = 2; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (directory == NULL) {
            (void)fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            char path[PATH_SIZE];
            if (entry->d_name[0] == '.')
                continue;
            (void)snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            run_seed(path, mutations);
            seeds++;
        }
        (void)closedir(directory); /* only read from */
    }
    (void)printf("%lu seeds, %lu mutations each\n", seeds, mutations);
    return seeds > 0 ? 0 : 1;
}
