// SPDX-License-Identifier: BSD-2-Clause
#include "base/thread.h"

#include <pthread.h>
#include <stdint.h>

/* Zero is "none" so that thread-local storage needs no initial image: kept as number + 1. */
static _Thread_local unsigned mine __attribute__((tls_model("initial-exec")));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t taken[DR_THREADS / 64]; /* guarded by lock */
static pthread_key_t key;               /* set once */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_error = 1;               /* set once */

static void give_back(void *value)
{
	unsigned n = (unsigned)(uintptr_t)value - 1;

	mine = 0;
	pthread_mutex_lock(&lock);
	taken[n / 64] &= ~(UINT64_C(1) << (n % 64));
	pthread_mutex_unlock(&lock);
}

static void make_key(void)
{
	key_error = pthread_key_create(&key, give_back);
}

unsigned dr_thread_peek(void)
{
	return mine - 1;
}

unsigned dr_thread_number(void)
{
	unsigned n = DR_THREAD_NONE;

	if (mine)
		return mine - 1;
	pthread_once(&once, make_key);
	if (key_error)
		return DR_THREAD_NONE;
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < DR_THREADS / 64 && n == DR_THREAD_NONE; i++)
		if (~taken[i])
			n = i * 64 + (unsigned)__builtin_ctzll(~taken[i]);
	if (n != DR_THREAD_NONE) {
		/* Without its destructor a number would never come back: then do without. */
		if (pthread_setspecific(key, (void *)(uintptr_t)(n + 1)))
			n = DR_THREAD_NONE;
		else
			taken[n / 64] |= UINT64_C(1) << (n % 64);
	}
	pthread_mutex_unlock(&lock);
	mine = n + 1;
	return n;
}
