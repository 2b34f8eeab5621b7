/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Little-endian numbers as types of their own, so that forgetting a conversion does not compile.
 * Everything the controller reads or writes, in registers and in memory, is declared with these.
 */
#ifndef NVME_LE_H
#define NVME_LE_H

#include <endian.h>
#include <stdint.h>

#include <dray/nvme_prp.h>

typedef struct {
	uint16_t raw;
} nvme_le16;

typedef dray_le32 nvme_le32;
typedef dray_le64 nvme_le64;

static inline nvme_le16 nvme_to_le16(uint16_t v)
{
	return (nvme_le16){htole16(v)};
}

static inline nvme_le32 nvme_to_le32(uint32_t v)
{
	return (nvme_le32){htole32(v)};
}

static inline nvme_le64 nvme_to_le64(uint64_t v)
{
	return (nvme_le64){htole64(v)};
}

static inline uint16_t nvme_from_le16(nvme_le16 v)
{
	return le16toh(v.raw);
}

static inline uint32_t nvme_from_le32(nvme_le32 v)
{
	return le32toh(v.raw);
}

static inline uint64_t nvme_from_le64(nvme_le64 v)
{
	return le64toh(v.raw);
}

#endif
