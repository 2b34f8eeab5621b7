/* SPDX-License-Identifier: BSD-2-Clause */
/* Mapping as Linux does it for a lazy domain, on the software IOMMU: see kernel_dma.c. */
#ifndef BENCH_BASELINE_KERNEL_DMA_H
#define BENCH_BASELINE_KERNEL_DMA_H

#include <stddef.h>
#include <stdint.h>

/* Entries of a ring, one of them always empty; and the timer, ms. Both as in the kernel. */
#define KERNEL_FQ_ENTRIES 256u
#define KERNEL_FQ_MS      10u

struct kernel_dma;

struct kernel_dma_counts {
	uint64_t maps, unmaps;   /* backend calls */
	uint64_t invalidations;
	uint64_t by_full, by_timer; /* why: a ring was full, or the timer came */
	uint64_t waiting;        /* entries in all rings now */
};

struct kernel_dma_opts {
	const char *device;      /* of the software IOMMU, "sim1" */
	unsigned threads;        /* one ring for each */
	unsigned timer_ms;       /* 0: none, kernel_dma_timeout() is called by hand */
	uint32_t invalidate_ns, pin_ns_per_page, cost_flags; /* as dray_sim_set_cost() */
};

/* 0, or -errno with dray_errmsg() set. */
int kernel_dma_open(const struct kernel_dma_opts *opts, struct kernel_dma **ret_dma);

/* Flushes, unmaps nothing: every mapping was unmapped before. NULL is fine. */
void kernel_dma_close(struct kernel_dma *dma);

/* Whole pages for both directions. 0, or -errno with dray_errmsg() set. */
int kernel_dma_map(struct kernel_dma *dma, void *va, size_t len, uint64_t *ret_iova);

/* @thread: whose ring; no two threads use one number. */
void kernel_dma_unmap(struct kernel_dma *dma, unsigned thread, uint64_t iova, size_t len);

/* What the timer does: one invalidation, then every ring gives back what it covers. */
void kernel_dma_timeout(struct kernel_dma *dma);

void kernel_dma_counts(struct kernel_dma *dma, struct kernel_dma_counts *ret_counts);

/* What a device reads at @iova now: the entries alone tell, whatever caches hold. For tests. */
void *kernel_dma_va(struct kernel_dma *dma, uint64_t iova);

#endif
