/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_NOTIFY_H
#define ZN_CLI_NOTIFY_H

/* Tell the service manager, if NOTIFY_SOCKET names one, as sd_notify(3) specifies: "READY=1". Does
 * not block; whether it was heard is not known. */
void zn_notify(const char *state);

#endif
