/* reload.c - settings that are read again while the program runs. */
#include "base/reload.h"

#include <string.h>

#include "base/log.h"
#include "wire/error.h"

static bool is_live(const struct reload_rules *rules, const char *name)
{
    for (const char *const *live = rules->live; *live != NULL; live++)
        if (strcmp(*live, name) == 0)
            return true;
    return false;
}

/* Answers how many settings differ. */
static unsigned take_over(struct config *c, struct config *fresh, const struct reload_rules *rules)
{
    unsigned changed = 0;
    for (size_t i = 0; i < rules->key_count; i++) {
        const char *name = rules->keys[i].name;
        if (strcmp(config_text(c, name), config_text(fresh, name)) == 0)
            continue;
        changed++;
        if (is_live(rules, name)) {
            config_swap(c, fresh, name);
            log_info("settings", "%s has changed (%s)", name, config_origin(c, name));
        } else {
            log_warn("settings", "%s has changed (%s): restart to use it", name,
                     config_origin(fresh, name));
        }
    }
    return changed;
}

bool reload_settings(struct config *c, const struct reload_rules *rules)
{
    struct config *fresh = NULL;
    aiki_error err = AIKI_ERROR_INIT;
    aiki_status st = config_load_again(&fresh, c, &err);
    if (st == AIKI_OK && rules->check != NULL)
        st = rules->check(fresh, &err);
    if (st == AIKI_OK && take_over(c, fresh, rules) == 0)
        log_info("settings", "%s read again: nothing has changed", config_file(c));
    if (st != AIKI_OK)
        log_error("settings", "%s; nothing is changed", err.message);
    config_destroy(fresh);
    return st == AIKI_OK;
}
