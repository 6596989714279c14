/* SPDX-License-Identifier: MIT */
/*
 * Names and texts of the public numbers: errors, outcomes, states, and the library's version. All
 * come from the lists of zmqnet.h. Any thread; no state; nothing fails: a number that is in no list
 * has a text that says so, because numbers also arrive from other replicas.
 */
#include "zmqnet.h"

const char *zmqnet_error_name(int code)
{
    switch (code) {
    case ZMQNET_OK: return "OK";
#define ERROR_NAME(name, value, text)                                                              \
    case value: return #name;
        ZMQNET_ERRORS(ERROR_NAME)
#undef ERROR_NAME
    default: return "EUNLISTED";
    }
}

const char *zmqnet_error_text(int code)
{
    switch (code) {
    case ZMQNET_OK: return "success";
#define ERROR_TEXT(name, value, text)                                                              \
    case value: return text;
        ZMQNET_ERRORS(ERROR_TEXT)
#undef ERROR_TEXT
    default: return "not a zmqnet error";
    }
}

const char *zmqnet_version(void) { return ZMQNET_VERSION; }

const char *zmqnet_outcome_name(enum zmqnet_outcome outcome)
{
    switch (outcome) {
    case ZMQNET_SELF: return "self";
    case ZMQNET_ACKED: return "acked";
    case ZMQNET_REFUSED: return "refused";
    case ZMQNET_UNACKED: return "unknown";
    case ZMQNET_NEVER_SENT: return "never_sent";
    }
    return "?";
}

const char *zmqnet_state_name(enum zmqnet_state state)
{
    switch (state) {
    case ZMQNET_CONNECTING: return "connecting";
    case ZMQNET_UP: return "up";
    case ZMQNET_DOWN: return "down";
    case ZMQNET_LOCAL: return "self";
    case ZMQNET_SLOW: return "slow";
    case ZMQNET_SUSPECT: return "suspect";
    }
    return "?";
}
