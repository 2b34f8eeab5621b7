/* SPDX-License-Identifier: BSD-2-Clause */
/* The controller's side of PRP and SGL: what a data pointer and its lists describe. */
#ifndef TEST_NVME_PRP_WALK_H
#define TEST_NVME_PRP_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory that the controller can read lists from. */
struct walk_list {
	const unsigned char *bytes;
	uint64_t iova;
	size_t len;
	size_t used; /* filled by a walk: bytes from the start that it read */
};

struct walk {
	size_t page; /* of the controller; PRP only */
	struct walk_list *lists;
	unsigned n_lists;
	unsigned visited;    /* filled: list pages that were read */
	uint64_t data;       /* filled: entries or descriptors of data */
	/* Data is at @iova, @len bytes of it. A sentence stops the walk. */
	const char *(*piece)(void *ctx, uint64_t iova, uint64_t len);
	void *ctx;
};

/*
 * Walk a transfer of @len bytes from the 16 bytes of a command's data pointer. NULL, or what breaks
 * the rules of the specification.
 */
const char *walk_prp(struct walk *w, const unsigned char *dptr, uint64_t len);
const char *walk_sgl(struct walk *w, const unsigned char *dptr, uint64_t len);

#endif
