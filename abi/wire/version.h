/* wire/version.h - semantic versions of plugins and workflows. [any]
 *
 * MAJOR.MINOR.PATCH, numbers without leading zeros and below 2^32, with an optional
 * -PRERELEASE of dot-parted [a-zA-Z0-9-] words (semver.org 2.0.0, without build metadata).
 */
#ifndef WIRE_VERSION_H
#define WIRE_VERSION_H

#include <aiki/status.h>

enum { VERSION_BYTES_MAX = 64 };

bool version_is_valid(aiki_view version);
/* Negative, 0 or positive, in the order of semver.org; invalid versions come before all others. */
int version_compare(aiki_view a, aiki_view b);

#endif
