/* SPDX-License-Identifier: BSD-2-Clause */
/* Where in a gap a request goes: pure arithmetic, no state. The theory is at the top of fit.c. */
#ifndef DR_IOVA_FIT_H
#define DR_IOVA_FIT_H

#include <stdbool.h>
#include <stdint.h>

#include "iova/space.h"

/* A checked request. Written once by dr_fit_init(), constant afterwards. */
struct dr_fit {
	uint64_t len;      /* bytes */
	uint64_t align;    /* power of two */
	uint64_t phase;    /* iova % align */
	uint64_t boundary; /* power of two that no range crosses a multiple of; 0 is none */
	uint64_t top_off;  /* highest iova % boundary at which the range ends before the boundary */
	uint64_t sure;     /* every gap of at least this many bytes holds the range somewhere */
};

/* Check and prepare. 0; -EINVAL malformed, or no address at all can satisfy it. */
int dr_fit_init(struct dr_fit *ret_fit, const struct dr_iova_request *req, uint64_t granule);

/* The highest address in [first, last] where the range fits whole; false where there is none. */
bool dr_fit_place(const struct dr_fit *fit, uint64_t first, uint64_t last, uint64_t *ret_iova);

#endif
