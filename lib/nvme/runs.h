/* SPDX-License-Identifier: BSD-2-Clause */
/* A part of a list of segments, as a device sees it: runs of bytes. runs.c tells what they are. */
#ifndef DR_NVME_RUNS_H
#define DR_NVME_RUNS_H

#include <endian.h>

#include <dray/nvme_prp.h>

struct dr_run {
	dray_iova_t iova;
	size_t len; /* more than 0; iova + len is at most 2^64 */
};

/* A walk over the runs of a part; belongs to the call that makes it. */
struct dr_runs {
	const struct dray_sg *sg; /* where the walk is */
	size_t off, left;         /* of *sg already behind; bytes not yet walked */
};

/*
 * Begin a walk over @len bytes from @off. -EINVAL with the message set: no bytes, bytes outside the
 * segments, an empty segment or one that passes 2^64. Afterwards the walk cannot fail.
 */
int dr_runs_start(struct dr_runs *r, const struct dray_sg *sg, unsigned nsegs, size_t off,
		  size_t len);
/* The next run; false when all were walked. */
bool dr_runs_next(struct dr_runs *r, struct dr_run *ret_run);

/*
 * List pages for @n entries, @per of which fit into one: the last page holds that many, every
 * other one entry less and the address of the next page.
 */
static inline uint64_t dr_list_pages(uint64_t n, size_t per)
{
	return n <= per ? n != 0 : (n - 1 + per - 2) / (per - 1);
}

/*
 * Are @need list pages among the @n that were given, and aligned? 0; -EINVAL; -EMSGSIZE too few for
 * the transfer.
 */
int dr_lists_check(const struct dray_nvme_list *lists, unsigned n, uint64_t need, size_t va_align,
		   size_t iova_align);

static inline dray_le64 dr_le64(uint64_t v)
{
	return (dray_le64){htole64(v)};
}

static inline dray_le32 dr_le32(uint32_t v)
{
	return (dray_le32){htole32(v)};
}

#endif
