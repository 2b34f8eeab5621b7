// SPDX-License-Identifier: BSD-2-Clause
/* What the fake was asked to do, line by line, in order. */
#define _GNU_SOURCE
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Guarded by the fake's lock; a line stays where it is until stop. */
static char **lines;
static size_t n_lines, room_lines;

void fake_log(long ret, const char *fmt, ...)
{
	char text[160];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	n = (size_t)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (ret < 0 && n < sizeof(text))
		snprintf(text + n, sizeof(text) - n, " = errno %ld", -ret);
	if (n_lines == room_lines) {
		room_lines = room_lines ? 2 * room_lines : 256;
		lines = realloc(lines, room_lines * sizeof(*lines));
	}
	if (!lines || !(lines[n_lines] = strdup(text)))
		fake_die("out of memory");
	n_lines++;
}

void fake_free_log(void)
{
	for (size_t i = 0; i < n_lines; i++)
		free(lines[i]);
	free(lines);
	lines = NULL;
	n_lines = room_lines = 0;
}

ssize_t vfio_fake_log_find(const char *text, size_t from)
{
	ssize_t found = -1;

	fake_lock();
	for (size_t i = from; found < 0 && i < n_lines; i++)
		if (!strncmp(lines[i], text, strlen(text)))
			found = (ssize_t)i;
	fake_unlock();
	return found;
}

size_t vfio_fake_log_lines(void)
{
	size_t n;

	fake_lock();
	n = n_lines;
	fake_unlock();
	return n;
}

const char *vfio_fake_log_line(size_t n)
{
	const char *line;

	fake_lock();
	line = n < n_lines ? lines[n] : "";
	fake_unlock();
	return line;
}
