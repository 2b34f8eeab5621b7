/* SPDX-License-Identifier: BSD-2-Clause */
/* A domain's log: one line at a time to the callback its owner gave. */
#ifndef DR_BASE_LOG_H
#define DR_BASE_LOG_H

#include <syslog.h>

struct dr_log {
	void (*fn)(void *ctx, int level, const char *msg); /* set at open; NULL is silent */
	void *ctx;                                         /* set at open */
};

void dr_log(const struct dr_log *log, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));

#endif
