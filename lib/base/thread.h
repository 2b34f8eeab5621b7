/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads by number. A thread gets a small dense number the first time it asks and gives it back
 * when it exits; the next thread that asks may get the same one. What is kept per number is thus
 * written by one thread at a time, and handed on through the lock that guards the numbers, so plain
 * loads and stores by the holder are enough.
 */
#ifndef DR_BASE_THREAD_H
#define DR_BASE_THREAD_H

/* Numbers are below this; a thread that finds none left works without. */
#define DR_THREADS 1024u
#define DR_THREAD_NONE (~0u)

/* How thread-local words are reached; a library that is loaded late may ask for another way. */
#ifndef DR_TLS_MODEL
#define DR_TLS_MODEL "initial-exec"
#endif

/* The number + 1, so that thread-local storage needs no initial image. Written by thread.c. */
extern _Thread_local unsigned dr_thread_mine __attribute__((tls_model(DR_TLS_MODEL)));

/* This thread's number, or DR_THREAD_NONE. Reads a thread-local word, no more. */
static inline unsigned dr_thread_peek(void)
{
	return dr_thread_mine - 1;
}

/* The same, taking a number if the thread has none yet. May take a lock and allocate. */
unsigned dr_thread_number(void);

/*
 * Call @fn in every thread that exits with a number, before the number is given back. At most four
 * in the process; never undone.
 */
void dr_thread_on_exit(void (*fn)(unsigned number));

#endif
