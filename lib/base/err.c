// SPDX-License-Identifier: BSD-2-Clause
#include "base/err.h"

#include <dray/stats.h>

#include <stdarg.h>
#include <stdio.h>

/* Long enough for a cause, a fix and a path or two; longer texts are cut, not lost. */
#define MSG_LEN 384

static _Thread_local char msg[MSG_LEN];

int dr_fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	return -err;
}

const char *dray_errmsg(void)
{
	return msg;
}

void dray_errmsg_set(const char *text)
{
	if (text != msg)
		snprintf(msg, sizeof(msg), "%s", text ? text : "");
}

const char *dray_version(void)
{
	return DRAY_VERSION;
}
