/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device or a cache does to memory is no access of the program's: sanitizers do not see it.
 * A race between a program and its device is not one between threads, and neither a device nor a
 * cache knows redzones.
 */
#ifndef DR_SIM_UNSEEN_H
#define DR_SIM_UNSEEN_H

#if defined(__clang__)
#define DR_UNSEEN __attribute__((noinline, no_sanitize("thread", "address")))
#else
#define DR_UNSEEN __attribute__((noinline, no_sanitize_thread, no_sanitize_address))
#endif

#endif
