/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes of a fuzzer as numbers and as lists of segments. */
#ifndef FUZZ_SHAPE_H
#define FUZZ_SHAPE_H

#include <dray/nvme_prp.h>

/* Most segments of one list: a few dozen are enough for every kind of neighbour. */
#define SHAPE_SEGS 64u

/* The input, read from the front; behind its end all bytes are 0. */
struct shape {
	const uint8_t *bytes;
	size_t left;
};

/* A number of @bytes bytes, 1 to 8. */
uint64_t shape_number(struct shape *s, unsigned bytes);
/* Up to SHAPE_SEGS segments; how many. *ret_total: their lengths' sum, whatever it is. */
unsigned shape_list(struct shape *s, struct dray_sg *ret_sg, size_t *ret_total);
/* A part of @total bytes: mostly inside, now and then not. */
void shape_part(struct shape *s, size_t total, size_t *ret_off, size_t *ret_len);

#endif
