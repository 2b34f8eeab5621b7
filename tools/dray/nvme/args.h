/* SPDX-License-Identifier: BSD-2-Clause */
/* What every `dray nvme` command takes: which controller, and how to use it. */
#ifndef NVME_ARGS_H
#define NVME_ARGS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/types.h>

struct nvme_args {
	const char *device, *image; /* exactly one */
	bool json, lazy, strain, no_sgl;
	unsigned queues, depth;
	size_t io_bytes; /* of one command */
	uint32_t nsid, timeout_ms;
	bool vectors;     /* set by the command, as is the seed of their shapes */
	uint64_t iov_seed;
	/* Of the model only. */
	uint64_t image_bytes; /* to create; 0: not asked for */
	uint32_t block, latency_us;
	bool in_order;
	uint64_t seed;
};

/* As a child of a command's own argp, with a struct nvme_args as its input. */
extern const struct argp nvme_args_argp;

/* Parse @argc words of "dray nvme …" with @own; misuse ends the program. 0 or errno. */
error_t nvme_args_parse(const struct argp *own, int argc, char **argv, void *input);

/* A number, or a size with k, M, G or T for powers of 1024; ends the program if it is neither. */
uint64_t nvme_args_number(struct argp_state *state, const char *option, const char *text,
			  uint64_t least, uint64_t most);

#endif
