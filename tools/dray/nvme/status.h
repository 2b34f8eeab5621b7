/* SPDX-License-Identifier: BSD-2-Clause */
/* What a completion's status means: a name, an errno, and what to do about it. */
#ifndef NVME_STATUS_H
#define NVME_STATUS_H

#include <stdint.h>

struct nvme_status_info {
	uint16_t status; /* type << 8 | code */
	int err;         /* positive errno */
	const char *text, *fix;
};

/* Never NULL; a status nobody wrote down is EIO and says so. */
const struct nvme_status_info *nvme_status_find(uint16_t status);

/* The name of an opcode of the admin queue (@qid 0) or of an I/O queue. */
const char *nvme_opcode_name(unsigned qid, uint8_t opcode);

#endif
