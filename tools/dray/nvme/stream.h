/* SPDX-License-Identifier: BSD-2-Clause */
/* A file onto a namespace, and a namespace against a file, with many commands in flight. */
#ifndef NVME_STREAM_H
#define NVME_STREAM_H

#include <stdbool.h>

#include "nvme/nvme.h"

#define NVME_SHA256_BYTES 32

struct nvme_stream {
	struct nvme_ctrl *ctrl;
	int fd;           /* the file, read with pread */
	uint64_t bytes;   /* its length, more than 0 */
	uint64_t lba;     /* where it begins on the namespace */
	size_t chunk;     /* bytes of one command: whole blocks, at most max_transfer */
	bool vectors;     /* each command has a vector; the controller was opened for them */
	uint64_t seed;    /* of their shapes */
	/* Called now and then with how many bytes are done; may be NULL. */
	void (*progress)(void *ctx, uint64_t done);
	void *ctx;
};

struct nvme_stream_result {
	unsigned char sha256[NVME_SHA256_BYTES]; /* of the bytes written, or read back */
	uint64_t ns;                             /* wall time, the checksum's included */
	bool equal;          /* compare: every byte as in the file, zeros to the block's end */
	uint64_t first_diff; /* compare: where not, bytes from the file's start */
};

/* Write the file, padded with zeros to whole blocks, and flush. 0 or -errno; nothing is out. */
int nvme_stream_write(const struct nvme_stream *st, struct nvme_stream_result *ret);
/* Read it back into other memory and compare. 0 also when it differs; -errno. */
int nvme_stream_compare(const struct nvme_stream *st, struct nvme_stream_result *ret);

#endif
