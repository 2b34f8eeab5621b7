/* SPDX-License-Identifier: BSD-2-Clause */
/* Powers of two and rounding, on 64-bit addresses. Every argument is evaluated once. */
#ifndef DR_BASE_BITS_H
#define DR_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool dr_is_pow2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* @align is a power of two; the caller knows that rounding up cannot pass 2^64. */
static inline uint64_t dr_align_up(uint64_t x, uint64_t align)
{
	return (x + align - 1) & ~(align - 1);
}

static inline uint64_t dr_align_down(uint64_t x, uint64_t align)
{
	return x & ~(align - 1);
}

/* Smallest power of two that is at least @x, for 0 < @x <= 2^63. */
static inline uint64_t dr_pow2_up(uint64_t x)
{
	return x <= 1 ? 1 : (uint64_t)1 << (64 - __builtin_clzll(x - 1));
}

/* log2 of a power of two. */
static inline unsigned dr_log2(uint64_t x)
{
	return 63u - (unsigned)__builtin_clzll(x);
}

#define dr_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
