/* old_host.h - a host as it was built for release 1.0: runs one workflow of a plugin in one go,
 * tasks where they are started, one attempt each.
 */
#ifndef V1_0_OLD_HOST_H
#define V1_0_OLD_HOST_H

#include "abi.h"

enum { OLD_HOST_OUTPUT_BYTES_MAX = 4096, OLD_HOST_REASON_SIZE = 512 };

/* Output of the plugin's first workflow; false with a reason when it does not end with one. */
bool old_host_run(const struct v10_plugin_def *plugin, struct v10_view input,
                  uint8_t ret_output[OLD_HOST_OUTPUT_BYTES_MAX], uint64_t *ret_size_bytes,
                  char ret_reason[OLD_HOST_REASON_SIZE]);

#endif
