/* SPDX-License-Identifier: BSD-2-Clause */
/* Gives back what a worker of WORKLOAD_HELD holds, in its place: see timer.c. */
#ifndef BENCH_WORKLOAD_TIMER_H
#define BENCH_WORKLOAD_TIMER_H

#include <pthread.h>
#include <stdbool.h>

struct workload_thread;

struct workload_timer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t asked, done;
	struct workload_thread *asks; /* guarded by lock: who waits, or NULL */
	bool stop;                    /* guarded by lock */
};

/* 0 or -errno. */
int workload_timer_start(struct workload_timer *timer);
void workload_timer_stop(struct workload_timer *timer);

#endif
