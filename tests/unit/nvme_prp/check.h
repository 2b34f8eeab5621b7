/* SPDX-License-Identifier: BSD-2-Clause */
/* One list, one part of it: build, walk, compare. For unit tests and fuzz targets alike. */
#ifndef TEST_NVME_PRP_CHECK_H
#define TEST_NVME_PRP_CHECK_H

#include <dray/nvme_prp.h>

/* Beyond this many pages or descriptors a case is counted and not built. */
#define CHECK_MOST 6000u

struct check {
	const struct dray_sg *sg;
	unsigned nsegs;
	size_t off, len;
	size_t page;       /* PRP: the controller's; SGL: bytes of a list page */
	size_t align;      /* SGL only */
	unsigned scatter;  /* how list pages lie in IOVAs: any number */
	/* Filled. */
	bool described;    /* it was built and walked */
	unsigned lists;    /* list pages that it took */
};

/* NULL, or what is wrong with what was built, counted, refused or left alone. */
const char *check_prp(struct check *c);
const char *check_sgl(struct check *c);

#endif
