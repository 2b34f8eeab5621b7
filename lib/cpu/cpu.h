/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The CPU's caches, for devices that do not look into them, and for code that a device wrote. The
 * theory is in cpu.c.
 */
#ifndef DR_CPU_H
#define DR_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a CPU can do. Ranges are whole lines of @stride. */
struct dr_cpu_ops {
	const char *name;   /* for messages and tests */
	size_t stride;      /* smallest line: one instruction for each leaves none out */
	size_t line;        /* largest: what is ever written back together */
	/* Write back what is dirty; on return memory has it. NULL: not from userspace. */
	void (*clean)(uintptr_t first, uintptr_t end);
	/* The same, and keep nothing: the next load asks memory. NULL exactly where clean is. */
	void (*drop)(uintptr_t first, uintptr_t end);
	/* Fetch instructions anew; any bytes. NULL: instruction caches see every store. */
	void (*sync_code)(uintptr_t first, uintptr_t end);
};

/* This machine's, read once. Any thread. */
const struct dr_cpu_ops *dr_cpu_ops(void);

/* For tests: another machine's, NULL: this one's again. While nobody uses caches. */
void dr_cpu_set_ops(const struct dr_cpu_ops *ops);

/* 0; -ENOTSUP this CPU lets no userspace program clean its caches. To be asked at device open. */
int dr_cpu_check(void);

/* Bytes that may be written back together: a buffer that shares them with anything is not its own. */
static inline size_t dr_cpu_line_size(void)
{
	return dr_cpu_ops()->line;
}

/* Does a buffer share its first or last line with something else? */
static inline bool dr_cpu_is_partial(const void *va, size_t len)
{
	uintptr_t first = (uintptr_t)va;

	return ((first | (first + len)) & (dr_cpu_line_size() - 1)) != 0;
}

/* All lines that hold a byte of the range. Length 0 is none. Nothing where dr_cpu_check() fails. */
void dr_cpu_clean(const void *va, size_t len);
void dr_cpu_invalidate(const void *va, size_t len);

/* Code that was written here by somebody else is what runs here next, on the calling thread. */
void dr_cpu_sync_code(const void *va, size_t len);

/* --- For the files of this directory --------------------------------------------------------- */

/* Fill in what this architecture has; called once. */
void dr_cpu_detect(struct dr_cpu_ops *ret_ops);

#endif
