// SPDX-License-Identifier: BSD-2-Clause
/*
 * Cache maintenance from userspace.
 *
 * 1. A coherent device's reads and writes go through the CPU's caches, or the caches watch them. A
 *    noncoherent device's go to memory alone. So before it reads, lines that the CPU has written
 *    must be cleaned (written back), and before the CPU reads what it wrote, lines the CPU holds
 *    must be dropped, or the CPU reads its old copy.
 *
 * 2. Userspace can clean, and can clean-and-drop. It cannot drop a dirty line without writing it
 *    back first, on any CPU: that would let a program see memory as it was before the kernel
 *    cleared it. A line that the CPU has dirtied after it was handed to the device is therefore
 *    written over what the device wrote, whenever that happens, by an instruction here or by the
 *    cache of its own accord. Hence the rule that nothing is in a line but the buffer
 *    (dr_cpu_is_partial()), and that the buffer is cleaned when it is handed over, whichever way
 *    the data will go.
 *
 * 3. Two sizes. A line of the smallest cache is the stride: an instruction for each. What may be
 *    written back together, with caches of several line sizes, may be larger: that is what a buffer
 *    must not share. Both are read from the CPU.
 *
 * 4. Order. A fence before the first instruction makes stores before it part of what is cleaned
 *    where the instruction alone would not wait for them, a fence after the last waits until memory
 *    has it all, before the doorbell that is rung next, or the load that follows.
 *
 * 5. Instruction caches of some CPUs do not watch stores, nor what devices write, coherent or not.
 *    Whoever runs what a device brought must have it fetched anew.
 *
 * 6. Threads: nothing here is written after it was detected. What can fail: dr_cpu_check(), asked
 *    before anything depends on it; the rest never.
 */
#include "cpu/cpu.h"
#include "base/err.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

static _Atomic(const struct dr_cpu_ops *) replaced;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct dr_cpu_ops detected; /* written once */

static void detect(void)
{
	dr_cpu_detect(&detected);
}

const struct dr_cpu_ops *dr_cpu_ops(void)
{
	const struct dr_cpu_ops *ops = atomic_load_explicit(&replaced, memory_order_relaxed);

	if (ops)
		return ops;
	pthread_once(&once, detect);
	return &detected;
}

void dr_cpu_set_ops(const struct dr_cpu_ops *ops)
{
	atomic_store_explicit(&replaced, ops, memory_order_relaxed);
}

int dr_cpu_check(void)
{
	const struct dr_cpu_ops *ops = dr_cpu_ops();

	if (ops->clean)
		return 0;
	return dr_fail(ENOTSUP, "this CPU (%s) lets no program clean its caches, which a device that "
		       "does not snoop needs; open it without DRAY_DEVICE_NONCOHERENT if it does",
		       ops->name);
}

/* Widen a range to whole lines of @stride and hand it over. */
static void act(void (*op)(uintptr_t, uintptr_t), size_t stride, const void *va, size_t len)
{
	uintptr_t first = (uintptr_t)va & ~(uintptr_t)(stride - 1);
	uintptr_t end = ((uintptr_t)va + len + stride - 1) & ~(uintptr_t)(stride - 1);

	if (op && len)
		op(first, end);
}

void dr_cpu_clean(const void *va, size_t len)
{
	const struct dr_cpu_ops *ops = dr_cpu_ops();

	act(ops->clean, ops->stride, va, len);
}

void dr_cpu_invalidate(const void *va, size_t len)
{
	const struct dr_cpu_ops *ops = dr_cpu_ops();

	act(ops->drop, ops->stride, va, len);
}

void dr_cpu_sync_code(const void *va, size_t len)
{
	act(dr_cpu_ops()->sync_code, 1, va, len);
}
