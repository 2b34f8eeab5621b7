/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers, and the order between them and memory that the device reads and writes.
 *
 * 1. A register is a nvme_le32. NVMe lets its 64-bit registers be accessed as two halves, low half
 *    first, so one width is enough and a 32-bit host needs nothing special.
 * 2. The other side of a register page is either a controller behind a bus or another thread that
 *    plays one. For the thread, a write is a release and a read is an acquire. For the bus, C's
 *    orders say nothing about device memory, so the barrier of the architecture stands beside
 *    them: before a write, so that commands stored earlier are in memory when the controller hears
 *    of them; after a read, so that nothing is read from memory before the register was.
 * 3. On x86 a mapped BAR is uncached and stores reach it in program order with respect to normal
 *    memory, so only the compiler has to be held.
 */
#ifndef NVME_MMIO_H
#define NVME_MMIO_H

#include <stddef.h>

#include "le.h"

/* Stores to memory before it are seen by the device before stores after it. */
static inline void nvme_wmb(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshst" ::: "memory");
#elif defined(__riscv)
	__asm__ volatile("fence ow, ow" ::: "memory");
#else
	__sync_synchronize();
#endif
}

/* Loads after it see what the device stored before the load in front of it. */
static inline void nvme_rmb(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__asm__ volatile("" ::: "memory");
#elif defined(__aarch64__)
	__asm__ volatile("dmb oshld" ::: "memory");
#elif defined(__riscv)
	__asm__ volatile("fence ir, ir" ::: "memory");
#else
	__sync_synchronize();
#endif
}

static inline nvme_le32 *nvme_reg(void *bar, size_t off)
{
	return (nvme_le32 *)((char *)bar + off);
}

static inline uint32_t nvme_read32(void *bar, size_t off)
{
	/* Acquire: pairs with the release of a controller that is a thread. */
	uint32_t raw = __atomic_load_n(&nvme_reg(bar, off)->raw, __ATOMIC_ACQUIRE);

	nvme_rmb();
	return nvme_from_le32((nvme_le32){raw});
}

static inline void nvme_write32(void *bar, size_t off, uint32_t v)
{
	nvme_wmb();
	/* Release: the thread that reads the register sees everything stored before. */
	__atomic_store_n(&nvme_reg(bar, off)->raw, nvme_to_le32(v).raw, __ATOMIC_RELEASE);
}

static inline uint64_t nvme_read64(void *bar, size_t off)
{
	uint64_t low = nvme_read32(bar, off);

	return low | (uint64_t)nvme_read32(bar, off + 4) << 32;
}

static inline void nvme_write64(void *bar, size_t off, uint64_t v)
{
	nvme_write32(bar, off, (uint32_t)v);
	nvme_write32(bar, off + 4, (uint32_t)(v >> 32));
}

#endif
