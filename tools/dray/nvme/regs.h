/* SPDX-License-Identifier: BSD-2-Clause */
/* The controller's registers, as NVM Express 1.4 chapter 3 lays them out. */
#ifndef NVME_REGS_H
#define NVME_REGS_H

#include <stddef.h>
#include <stdint.h>

#define NVME_REG_CAP  0x00u /* 64 bits: what the controller can do */
#define NVME_REG_VS   0x08u /* version */
#define NVME_REG_CC   0x14u /* configuration: enable, shut down, sizes */
#define NVME_REG_CSTS 0x1cu /* status: ready, fatal, shutdown */
#define NVME_REG_AQA  0x24u /* admin queue sizes */
#define NVME_REG_ASQ  0x28u /* 64 bits: admin submission queue */
#define NVME_REG_ACQ  0x30u /* 64 bits: admin completion queue */
#define NVME_REG_DBS  0x1000u /* first doorbell */

/* CAP */
#define NVME_CAP_MQES(cap)   ((uint32_t)((cap) & 0xffff)) /* most entries of a queue, less one */
#define NVME_CAP_CQR         (UINT64_C(1) << 16)          /* queues must be contiguous */
#define NVME_CAP_TO(cap)     ((uint32_t)((cap) >> 24 & 0xff)) /* worst enable time, 500 ms units */
#define NVME_CAP_DSTRD(cap)  ((uint32_t)((cap) >> 32 & 0xf))  /* doorbells are 4 << DSTRD apart */
#define NVME_CAP_CSS_NVM     (UINT64_C(1) << 37)              /* has the NVM command set */
#define NVME_CAP_MPSMIN(cap) ((uint32_t)((cap) >> 48 & 0xf))  /* smallest page: 4096 << MPSMIN */
#define NVME_CAP_MPSMAX(cap) ((uint32_t)((cap) >> 52 & 0xf))

/* CC */
#define NVME_CC_EN         (1u << 0)
#define NVME_CC_MPS_SHIFT  7
#define NVME_CC_MPS(cc)    ((cc) >> 7 & 0xf)
#define NVME_CC_AMS(cc)    ((cc) >> 11 & 0x7)
#define NVME_CC_CSS(cc)    ((cc) >> 4 & 0x7)
#define NVME_CC_SHN_MASK   (3u << 14)
#define NVME_CC_SHN_NORMAL (1u << 14)
#define NVME_CC_IOSQES(cc) ((cc) >> 16 & 0xf)
#define NVME_CC_IOCQES(cc) ((cc) >> 20 & 0xf)
#define NVME_CC_ENTRIES    (6u << 16 | 4u << 20) /* entries of 64 and of 16 bytes */

/* CSTS */
#define NVME_CSTS_RDY       (1u << 0)
#define NVME_CSTS_CFS       (1u << 1) /* controller fatal status */
#define NVME_CSTS_SHST_MASK (3u << 2)
#define NVME_CSTS_SHST_DONE (2u << 2)
#define NVME_CSTS_GONE      0xffffffffu /* what reads from a device that left the bus return */

/* Where queue @qid's doorbells are. */
static inline size_t nvme_sq_doorbell(unsigned qid, unsigned dstrd)
{
	return NVME_REG_DBS + (size_t)(2 * qid) * (4u << dstrd);
}

static inline size_t nvme_cq_doorbell(unsigned qid, unsigned dstrd)
{
	return NVME_REG_DBS + (size_t)(2 * qid + 1) * (4u << dstrd);
}

#endif
