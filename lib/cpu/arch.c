// SPDX-License-Identifier: BSD-2-Clause
/*
 * The instructions, architecture by architecture.
 *
 * x86: clwb where there is one to clean, because it keeps the line; else clflushopt; else clflush.
 * All three are ordered by mfence on either side, which the oldest does not need. Instruction caches
 * watch every store.
 *
 * arm64: dc cvac and dc civac, to the point where memory is the same for everybody; Linux lets
 * programs use them, and read CTR_EL0, which tells the line sizes and whether instruction caches
 * need anything. Where it does not tell how much is written back together, nothing is larger than
 * what Linux itself takes for it.
 *
 * Elsewhere nothing can be cleaned. 64 bytes is then only what buffers are kept apart by.
 */
#include "cpu/cpu.h"

#if !defined(__x86_64__)
static void sync_code(uintptr_t first, uintptr_t end)
{
	__builtin___clear_cache((char *)first, (char *)end);
}
#endif

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define HAS_CLFLUSH    (1u << 19) /* leaf 1, edx */
#define HAS_CLFLUSHOPT (1u << 23) /* leaf 7, ebx */
#define HAS_CLWB       (1u << 24) /* leaf 7, ebx */

static size_t stride; /* written once, before any of the functions below is known */

__attribute__((target("clwb"))) static void write_back(uintptr_t at, uintptr_t end)
{
	_mm_mfence();
	for (; at != end; at += stride)
		_mm_clwb((void *)at);
	_mm_mfence();
}

__attribute__((target("clflushopt"))) static void flush_fast(uintptr_t at, uintptr_t end)
{
	_mm_mfence();
	for (; at != end; at += stride)
		_mm_clflushopt((void *)at);
	_mm_mfence();
}

static void flush(uintptr_t at, uintptr_t end)
{
	_mm_mfence();
	for (; at != end; at += stride)
		_mm_clflush((const void *)at);
	_mm_mfence();
}

void dr_cpu_detect(struct dr_cpu_ops *ret_ops)
{
	unsigned a, b = 0, c, d = 0, b7 = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(d & HAS_CLFLUSH)) {
		*ret_ops = (struct dr_cpu_ops){ .name = "x86", .stride = 64, .line = 64 };
		return;
	}
	stride = (b >> 8 & 0xff) * 8u;
	if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d))
		b7 = 0;
	*ret_ops = (struct dr_cpu_ops){
		.name = "x86", .stride = stride, .line = stride, .clean = flush, .drop = flush,
	};
	if (b7 & HAS_CLFLUSHOPT)
		ret_ops->clean = ret_ops->drop = flush_fast;
	if (b7 & HAS_CLWB)
		ret_ops->clean = write_back;
}

#elif defined(__aarch64__)

/* What Linux aligns DMA buffers to where CTR_EL0.CWG is 0. */
#define LINE_UNKNOWN 128u

static size_t stride; /* written once, before any of the functions below is known */

static void clean(uintptr_t at, uintptr_t end)
{
	for (; at != end; at += stride)
		__asm__ volatile("dc cvac, %0" : : "r"(at) : "memory");
	/* The whole system, not the inner domain: a noncoherent device is outside of that. */
	__asm__ volatile("dsb sy" : : : "memory");
}

static void drop(uintptr_t at, uintptr_t end)
{
	for (; at != end; at += stride)
		__asm__ volatile("dc civac, %0" : : "r"(at) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
}

void dr_cpu_detect(struct dr_cpu_ops *ret_ops)
{
	uint64_t ctr;
	unsigned granule;
	size_t line;

	__asm__("mrs %0, ctr_el0" : "=r"(ctr));
	granule = ctr >> 24 & 0xf;                 /* CWG, as the next one log2 of words of 4 bytes */
	stride = (size_t)4 << (ctr >> 16 & 0xf);   /* DminLine */
	line = granule ? (size_t)4 << granule : LINE_UNKNOWN;
	*ret_ops = (struct dr_cpu_ops){
		.name = "arm64", .stride = stride, .line = line > stride ? line : stride,
		.clean = clean, .drop = drop, .sync_code = sync_code,
	};
}

#else

void dr_cpu_detect(struct dr_cpu_ops *ret_ops)
{
	*ret_ops = (struct dr_cpu_ops){
		.name = "unknown", .stride = 64, .line = 64, .sync_code = sync_code,
	};
}
#endif
