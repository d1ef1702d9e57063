/* shop_records.h - records with every type and rule, for the tests of record.h and schema.c. */
#ifndef SHOP_RECORDS_H
#define SHOP_RECORDS_H

#include <aiki/record.h>

#define SHOP_ITEM(F, R)                                   \
    F(R, str, sku, AIKI_REQUIRED, AIKI_LENGTH(1, 8))      \
    F(R, i64, price, AIKI_REQUIRED, AIKI_RANGE(1, 1000))  \
    F(R, bool, gift, AIKI_OPTIONAL, AIKI_DEFAULT(true))
AIKI_RECORD(shop_item, SHOP_ITEM);

#define SHOP_ADDRESS(F, R)                                        \
    F(R, str, city, AIKI_REQUIRED)                                \
    F(R, str, street, AIKI_OPTIONAL, AIKI_PII, AIKI_LENGTH(1, 5)) \
    F(R, str, country, AIKI_OPTIONAL, AIKI_LENGTH(2, 2))
AIKI_RECORD(shop_address, SHOP_ADDRESS);

#define SHOP_CART(F, R)                                                              \
    F(R, i64, id, AIKI_REQUIRED)                                                     \
    F(R, u64, serial, AIKI_OPTIONAL, AIKI_MIN(5))                                    \
    F(R, f64, rate, AIKI_OPTIONAL, AIKI_REAL_RANGE(0, 1), AIKI_DEFAULT_REAL(0.5))    \
    F(R, bool, express, AIKI_OPTIONAL)                                               \
    F(R, str, method, AIKI_OPTIONAL, AIKI_ONE_OF("card|cash"), AIKI_DEFAULT_TEXT("card")) \
    F(R, bytes, token, AIKI_OPTIONAL, AIKI_LENGTH(2, 4))                             \
    F(R, record(shop_address), address, AIKI_OPTIONAL)                               \
    F(R, list(record(shop_item)), items, AIKI_REQUIRED, AIKI_LENGTH(1, 3))           \
    F(R, list(str), tags, AIKI_OPTIONAL, AIKI_ONE_OF("red|green"))                   \
    F(R, list(i64), counts, AIKI_OPTIONAL, AIKI_MAX(9))                              \
    F(R, list(u64), serials, AIKI_OPTIONAL)                                          \
    F(R, list(f64), rates, AIKI_OPTIONAL)                                            \
    F(R, list(bool), flags, AIKI_OPTIONAL)                                           \
    F(R, list(bytes), blobs, AIKI_OPTIONAL)
AIKI_RECORD(shop_cart, SHOP_CART);

#endif
