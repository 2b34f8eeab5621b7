// SPDX-License-Identifier: BSD-2-Clause
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

_Thread_local unsigned dr_thread_mine __attribute__((tls_model(DR_TLS_MODEL)));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t taken[DR_THREADS / 64]; /* guarded by lock */
static pthread_key_t key;               /* set once */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_error = 1;               /* set once */

#define EXIT_HOOKS 4
static _Atomic(void (*)(unsigned)) exit_hooks[EXIT_HOOKS]; /* each set once */

static void give_back(void *value)
{
	unsigned n = (unsigned)(uintptr_t)value - 1;

	for (unsigned i = 0; i < EXIT_HOOKS; i++) {
		void (*fn)(unsigned) = exit_hooks[i];

		if (fn)
			fn(n);
	}
	dr_thread_mine = 0;
	pthread_mutex_lock(&lock);
	taken[n / 64] &= ~(UINT64_C(1) << (n % 64));
	pthread_mutex_unlock(&lock);
}

static void make_key(void)
{
	key_error = pthread_key_create(&key, give_back);
}

void dr_thread_on_exit(void (*fn)(unsigned number))
{
	for (unsigned i = 0; i < EXIT_HOOKS; i++) {
		void (*none)(unsigned) = NULL;

		if (atomic_compare_exchange_strong(&exit_hooks[i], &none, fn))
			return;
	}
}

unsigned dr_thread_number(void)
{
	unsigned n = DR_THREAD_NONE;

	if (dr_thread_mine)
		return dr_thread_mine - 1;
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
	dr_thread_mine = n + 1;
	return n;
}
