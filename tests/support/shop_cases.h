/* shop_cases.h - values of a shop_cart as JSON-like calls, with the verdict they must get, from
 * the plugin's decoder and from the host's schema alike.
 */
#ifndef SHOP_CASES_H
#define SHOP_CASES_H

#include <aiki/msgpack.h>

/* A cart with the one item that makes it complete, and `more` further pairs to come. */
static inline void cart_head(aiki_writer *w, uint64_t more)
{
    aiki_mp_map(w, 2 + more);
    aiki_mp_str(w, "id");
    aiki_mp_int(w, 7);
    aiki_mp_str(w, "items");
    aiki_mp_array(w, 1);
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "sku");
    aiki_mp_str(w, "tea");
    aiki_mp_str(w, "price");
    aiki_mp_int(w, 450);
}

static inline void pair_begin(aiki_writer *w, const char *key)
{
    cart_head(w, 1);
    aiki_mp_str(w, key);
}

static inline void item_price(aiki_writer *w, int64_t price)
{
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "sku");
    aiki_mp_str(w, "tea");
    aiki_mp_str(w, "price");
    aiki_mp_int(w, price);
}

static inline void two_items(aiki_writer *w, int64_t second_price)
{
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "id");
    aiki_mp_int(w, 1);
    aiki_mp_str(w, "items");
    aiki_mp_array(w, 2);
    item_price(w, 1);
    item_price(w, second_price);
}

static inline void address_of(aiki_writer *w, const char *street)
{
    pair_begin(w, "address");
    aiki_mp_map(w, 2);
    aiki_mp_str(w, "city");
    aiki_mp_str(w, "Rome");
    aiki_mp_str(w, "street");
    aiki_mp_str(w, street);
}

/* X(name, statements that write the value to w, message or NULL when it fits) */
#define SHOP_CASES(X)                                                                             \
    X(complete, cart_head(w, 0), NULL)                                                            \
    X(unknown_key, (pair_begin(w, "later"), aiki_mp_array(w, 1), aiki_mp_nil(w)), NULL)           \
    X(number_key, (cart_head(w, 1), aiki_mp_int(w, 5), aiki_mp_int(w, 6)), NULL)                  \
    X(nil_optional, (pair_begin(w, "serial"), aiki_mp_nil(w)), NULL)                              \
    X(integer_as_real, (pair_begin(w, "rate"), aiki_mp_int(w, 1)), NULL)                          \
    X(not_a_map, aiki_mp_int(w, 5), "value: must be a map, is 5")                                 \
    X(nothing_given, aiki_mp_nil(w), "id: is required")                                           \
    X(missing, (aiki_mp_map(w, 1), aiki_mp_str(w, "id"), aiki_mp_int(w, 1)), "items: is required") \
    X(nil_required, (aiki_mp_map(w, 1), aiki_mp_str(w, "id"), aiki_mp_nil(w)),                    \
      "id: must be a whole number of 64 bits, is nil")                                            \
    X(twice, (pair_begin(w, "id"), aiki_mp_int(w, 1)), "id: is given twice")                      \
    X(text_for_number, (aiki_mp_map(w, 1), aiki_mp_str(w, "id"), aiki_mp_str(w, "se\nven")),      \
      "id: must be a whole number of 64 bits, is \"se?ven\"")                                     \
    X(too_big, (aiki_mp_map(w, 1), aiki_mp_str(w, "id"), aiki_mp_uint(w, UINT64_MAX)),            \
      "id: must be a whole number of 64 bits, is 18446744073709551615")                           \
    X(below, two_items(w, -3), "items[1].price: must be at least 1, is -3")                       \
    X(above, two_items(w, 1001), "items[1].price: must be at most 1000, is 1001")                 \
    X(unsigned_below, (pair_begin(w, "serial"), aiki_mp_int(w, 4)),                               \
      "serial: must be at least 5, is 4")                                                         \
    X(negative_unsigned, (pair_begin(w, "serial"), aiki_mp_int(w, -1)),                           \
      "serial: must be a whole number from 0, is -1")                                             \
    X(real_above, (pair_begin(w, "rate"), aiki_mp_double(w, 1.5)),                                \
      "rate: must be at most 1, is 1.5")                                                          \
    X(real_nan, (pair_begin(w, "rate"), aiki_mp_double(w, __builtin_nan(""))),                    \
      "rate: must be a finite number, is nan")                                                    \
    X(bool_number, (pair_begin(w, "express"), aiki_mp_int(w, 1)),                                 \
      "express: must be true or false, is 1")                                                     \
    X(not_listed, (pair_begin(w, "method"), aiki_mp_str(w, "gold")),                              \
      "method: must be one of card|cash, is \"gold\"")                                            \
    X(prefix_of_listed, (pair_begin(w, "method"), aiki_mp_str(w, "car")),                         \
      "method: must be one of card|cash, is \"car\"")                                             \
    X(broken_utf8, (pair_begin(w, "method"), aiki_mp_str(w, "\xc3(")),                            \
      "method: must be UTF-8 without NUL, is \"?(\"")                                             \
    X(nul_in_text, (pair_begin(w, "method"), aiki_mp_strn(w, "a\0b", 3)),                         \
      "method: must be UTF-8 without NUL, is \"a?b\"")                                            \
    X(short_bytes, (pair_begin(w, "token"), aiki_mp_bin(w, "x", 1)),                              \
      "token: must have 2 to 4 bytes, has 1")                                                     \
    X(text_for_bytes, (pair_begin(w, "token"), aiki_mp_str(w, "xx")),                             \
      "token: must be bytes, is \"xx\"")                                                          \
    X(record_as_list, (pair_begin(w, "address"), aiki_mp_array(w, 0)),                            \
      "address: must be a map, is a list")                                                        \
    X(nested_missing, (pair_begin(w, "address"), aiki_mp_map(w, 0)), "address.city: is required") \
    X(characters_count, address_of(w, "\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x82\xac!"), NULL)             \
    X(pii_is_hidden, (pair_begin(w, "address"), aiki_mp_map(w, 2), aiki_mp_str(w, "city"),        \
                      aiki_mp_str(w, "Rome"), aiki_mp_str(w, "street"), aiki_mp_int(w, 12345)),   \
      "address.street: must be text")                                                             \
    X(pii_length, address_of(w, "secret"), "address.street: must have 1 to 5 characters, has 6")  \
    X(exact_length, (pair_begin(w, "address"), aiki_mp_map(w, 2), aiki_mp_str(w, "city"),         \
                     aiki_mp_str(w, "Rome"), aiki_mp_str(w, "country"), aiki_mp_str(w, "ITA")),   \
      "address.country: must have exactly 2 characters, has 3")                                   \
    X(no_items, (aiki_mp_map(w, 2), aiki_mp_str(w, "id"), aiki_mp_int(w, 1),                      \
                 aiki_mp_str(w, "items"), aiki_mp_array(w, 0)),                                   \
      "items: must have 1 to 3 elements, has 0")                                                  \
    X(list_as_map, (pair_begin(w, "tags"), aiki_mp_map(w, 0)), "tags: must be a list, is a map")  \
    X(element_not_listed, (pair_begin(w, "tags"), aiki_mp_array(w, 2), aiki_mp_str(w, "red"),     \
                           aiki_mp_str(w, "blue")),                                               \
      "tags[1]: must be one of red|green, is \"blue\"")                                           \
    X(element_above, (pair_begin(w, "counts"), aiki_mp_array(w, 1), aiki_mp_int(w, 10)),          \
      "counts[0]: must be at most 9, is 10")                                                      \
    X(nil_element, (pair_begin(w, "flags"), aiki_mp_array(w, 1), aiki_mp_nil(w)),                 \
      "flags[0]: must be true or false, is nil")                                                  \
    X(trailing, (cart_head(w, 0), aiki_mp_nil(w)), "value: has bytes behind its end")             \
    X(truncated, aiki_mp_map(w, 3), "value: must be a map, is not msgpack")                       \
    X(empty, (void)w, "value: must be a map, is nothing")

#endif
