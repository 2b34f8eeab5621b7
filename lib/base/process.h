/* SPDX-License-Identifier: BSD-2-Clause */
/* Which process this is, told without a system call, so that a forked child is never mistaken. */
#ifndef DR_BASE_PROCESS_H
#define DR_BASE_PROCESS_H

#include <stdint.h>

/*
 * A number that is never 0, stays the same for a process's whole life, and differs between a
 * process and any child forked from it. It lives in a page that the kernel wipes on fork, so raw
 * clone() is seen too, not only fork(). 0 when the page cannot be had.
 */
uint64_t dr_process_id(void);

#endif
