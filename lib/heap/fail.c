// SPDX-License-Identifier: BSD-2-Clause
/*
 * Failures in words, in the shared libdray-heap: it has base/ code of its own, and tells libdray,
 * which keeps the thread's message. The static library uses libdray's base/err.c instead.
 */
#include "base/err.h"

#include <dray/stats.h>

#include <stdarg.h>
#include <stdio.h>

/* Longer than libdray keeps, so that it cuts, not we. */
#define TEXT_LEN 512

int dr_fail(int err, const char *fmt, ...)
{
	char text[TEXT_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dray_errmsg_set(text);
	return -err;
}
