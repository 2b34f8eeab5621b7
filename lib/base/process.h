/* SPDX-License-Identifier: BSD-2-Clause */
/* Which process this is, told without a system call, so that a forked child is never mistaken. */
#ifndef DR_BASE_PROCESS_H
#define DR_BASE_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * A number that is never 0, stays the same for a process's whole life, and differs between a
 * process and any child forked from it. It lives in a page that the kernel wipes on fork, so raw
 * clone() is seen too, not only fork(). 0 when the page cannot be had.
 */
uint64_t dr_process_id(void);

/* The page that is wiped on fork; NULL until the first dr_process_id(). Written by process.c. */
extern _Atomic(_Atomic uint64_t *) dr_process_page;

/* Is this the process with that number, which it got from dr_process_id()? A load or two. */
static inline bool dr_process_is(uint64_t id)
{
	_Atomic uint64_t *p = atomic_load_explicit(&dr_process_page, memory_order_acquire);

	return atomic_load_explicit(p, memory_order_relaxed) == id;
}

#endif
