/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands, completions, status codes and identify pages, as NVM Express 1.4 lays them out. */
#ifndef NVME_SPEC_H
#define NVME_SPEC_H

#include <assert.h>
#include <stddef.h>

#include "le.h"

#define NVME_PAGE 4096u /* the smallest memory page, and the size of every identify page */

enum nvme_admin_opcode {
	NVME_ADMIN_DELETE_SQ = 0x00,
	NVME_ADMIN_CREATE_SQ = 0x01,
	NVME_ADMIN_DELETE_CQ = 0x04,
	NVME_ADMIN_CREATE_CQ = 0x05,
	NVME_ADMIN_IDENTIFY = 0x06,
	NVME_ADMIN_ABORT = 0x08,
	NVME_ADMIN_SET_FEATURES = 0x09,
	NVME_ADMIN_GET_FEATURES = 0x0a,
};

enum nvme_io_opcode {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
};

#define NVME_CNS_NAMESPACE  0x00u
#define NVME_CNS_CONTROLLER 0x01u
#define NVME_CNS_ACTIVE     0x02u

#define NVME_FEATURE_QUEUES 0x07u

#define NVME_QUEUE_PC (1u << 0) /* create queue, cdw11: physically contiguous */
#define NVME_QUEUE_IEN (1u << 1) /* create completion queue, cdw11: interrupts */

/* A command's flags: PSDT 1, data by scatter-gather list. */
#define NVME_FLAG_SGL 0x40u

/* Identify controller, SGLS: how its lists may lie. */
#define NVME_SGLS_BYTES 1u /* any address and length */
#define NVME_SGLS_WORDS 2u /* multiples of 4 */

/* A submission queue entry. */
struct nvme_cmd {
	uint8_t opcode, flags;
	nvme_le16 cid;
	nvme_le32 nsid, cdw2, cdw3;
	nvme_le64 mptr;
	union {
		struct {
			nvme_le64 prp1, prp2;
		};
		struct dray_prp prp;
		struct dray_sgl_desc sgl; /* with NVME_FLAG_SGL */
	};
	nvme_le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(struct nvme_cmd) == 64, "submission queue entry");
static_assert(offsetof(struct nvme_cmd, sgl) == 24, "submission queue entry, DPTR");

/* A completion queue entry. The phase is in the last word: see queue.c. */
struct nvme_cqe {
	nvme_le32 result, reserved;
	nvme_le16 sq_head, sq_id;
	nvme_le32 cid_status; /* cid, phase in bit 16, status from bit 17 */
};
static_assert(sizeof(struct nvme_cqe) == 16, "completion queue entry");
static_assert(offsetof(struct nvme_cqe, cid_status) == 12, "the phase is in the last word");

#define NVME_CQE_PHASE (1u << 16)
#define NVME_CQE_CID(w) ((uint16_t)(w))
/* Code in bits 0-7, type in bits 8-10; the retry hints above them are dropped. */
#define NVME_CQE_STATUS(w) ((uint16_t)((w) >> 17 & 0x7ff))

/* Status: type << 8 | code. */
#define NVME_STATUS(type, code) ((type) << 8 | (code))
enum nvme_status {
	NVME_OK = 0,
	NVME_INVALID_OPCODE = NVME_STATUS(0, 0x01),
	NVME_INVALID_FIELD = NVME_STATUS(0, 0x02),
	NVME_CID_CONFLICT = NVME_STATUS(0, 0x03),
	NVME_DATA_TRANSFER = NVME_STATUS(0, 0x04),
	NVME_INTERNAL = NVME_STATUS(0, 0x06),
	NVME_ABORTED = NVME_STATUS(0, 0x07),
	NVME_ABORTED_SQ_DELETED = NVME_STATUS(0, 0x08),
	NVME_INVALID_NAMESPACE = NVME_STATUS(0, 0x0b),
	NVME_INVALID_SGL_SEGMENT = NVME_STATUS(0, 0x0d),
	NVME_INVALID_SGL_LENGTH = NVME_STATUS(0, 0x0f),
	NVME_INVALID_SGL_TYPE = NVME_STATUS(0, 0x11),
	NVME_INVALID_PRP_OFFSET = NVME_STATUS(0, 0x13),
	NVME_LBA_RANGE = NVME_STATUS(0, 0x80),
	NVME_CAPACITY = NVME_STATUS(0, 0x81),
	NVME_NOT_READY = NVME_STATUS(0, 0x82),
	NVME_CQ_INVALID = NVME_STATUS(1, 0x00),
	NVME_QID_INVALID = NVME_STATUS(1, 0x01),
	NVME_QSIZE_INVALID = NVME_STATUS(1, 0x02),
	NVME_QUEUE_DELETION = NVME_STATUS(1, 0x0c),
	NVME_READ_ONLY = NVME_STATUS(1, 0x82),
	NVME_WRITE_FAULT = NVME_STATUS(2, 0x80),
	NVME_READ_ERROR = NVME_STATUS(2, 0x81),
	/* Not the controller's: the driver gave the command up. Above every status of a CQE. */
	NVME_NO_STATUS = 0xffff,
};

struct nvme_id_ctrl {
	nvme_le16 vid, ssvid;
	char sn[20], mn[40], fr[8];
	uint8_t rab, ieee[3], cmic, mdts;
	nvme_le16 cntlid;
	nvme_le32 ver;
	uint8_t pad84[256 - 84];
	nvme_le16 oacs;
	uint8_t acl, aerl;
	uint8_t pad260[512 - 260];
	uint8_t sqes, cqes;
	nvme_le16 maxcmd;
	nvme_le32 nn;
	nvme_le16 oncs, fuses;
	uint8_t fna, vwc;
	uint8_t pad526[536 - 526];
	nvme_le32 sgls;
	uint8_t pad540[768 - 540];
	char subnqn[256];
	uint8_t pad1024[4096 - 1024];
};
static_assert(sizeof(struct nvme_id_ctrl) == 4096, "identify controller");
static_assert(offsetof(struct nvme_id_ctrl, mdts) == 77, "identify controller, MDTS");
static_assert(offsetof(struct nvme_id_ctrl, ver) == 80, "identify controller, VER");
static_assert(offsetof(struct nvme_id_ctrl, nn) == 516, "identify controller, NN");
static_assert(offsetof(struct nvme_id_ctrl, vwc) == 525, "identify controller, VWC");
static_assert(offsetof(struct nvme_id_ctrl, sgls) == 536, "identify controller, SGLS");

struct nvme_lbaf {
	nvme_le16 ms;
	uint8_t lbads, rp;
};

struct nvme_id_ns {
	nvme_le64 nsze, ncap, nuse;
	uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps;
	uint8_t pad30[128 - 30];
	struct nvme_lbaf lbaf[16];
	uint8_t pad192[4096 - 192];
};
static_assert(sizeof(struct nvme_id_ns) == 4096, "identify namespace");
static_assert(offsetof(struct nvme_id_ns, lbaf) == 128, "identify namespace, LBAF0");

#endif
