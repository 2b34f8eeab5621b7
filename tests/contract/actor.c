// SPDX-License-Identifier: BSD-2-Clause
#include "actor.h"

#include <string.h>

struct actor *actor_open(const struct rig *rig, struct dray_device *dev)
{
	return rig_is_sim(rig) ? actor_open_sim(dev) : actor_open_edu(dev);
}

void actor_close(struct actor *a)
{
	a->ops->close(a);
}

void actor_check_reads(const char *file, int line, struct actor *a, dray_iova_t iova,
		       const void *va, size_t len)
{
	unsigned char got[ACTOR_MAX];

	a->ops->read(a, iova, got, len);
	for (size_t i = 0; i < len; i++)
		if (got[i] != ((const unsigned char *)va)[i])
			contract_fail(file, line, "the device read 0x%02x at 0x%llx, memory has "
				      "0x%02x", got[i], (unsigned long long)iova + i,
				      ((const unsigned char *)va)[i]);
}

/* Bytes that memory does not have now, nor had after the last such call. */
static void new_bytes(unsigned char *buf, const void *va, size_t len)
{
	static unsigned seed;

	rig_fill(buf, len, ++seed);
	for (size_t i = 0; i < len; i++)
		if (buf[i] == ((const unsigned char *)va)[i])
			buf[i] ^= 0x80;
}

void actor_check_writes(const char *file, int line, struct actor *a, dray_iova_t iova, void *va,
			size_t len)
{
	unsigned char put[ACTOR_MAX];

	new_bytes(put, va, len);
	a->ops->write(a, iova, put, len);
	if (memcmp(put, va, len))
		contract_fail(file, line, "the device wrote to 0x%llx, but not into the buffer",
			      (unsigned long long)iova);
}

void actor_check_no_read(const char *file, int line, struct actor *a, dray_iova_t iova,
			 const void *va, size_t len)
{
	unsigned char got[ACTOR_MAX];

	a->ops->read(a, iova, got, len);
	/* By words: a single byte may well be the same by chance. */
	for (size_t i = 0; i + 8 <= len; i += 8)
		if (!memcmp(got + i, (const unsigned char *)va + i, 8))
			contract_fail(file, line, "the device reads the buffer at 0x%llx",
				      (unsigned long long)iova + i);
	a->ops->check_refused(a, iova, DRAY_SIM_READ);
}

void actor_check_no_write(const char *file, int line, struct actor *a, dray_iova_t iova, void *va,
			  size_t len)
{
	unsigned char put[ACTOR_MAX], was[ACTOR_MAX];

	memcpy(was, va, len);
	new_bytes(put, va, len);
	a->ops->write(a, iova, put, len);
	if (memcmp(was, va, len))
		contract_fail(file, line, "the device writes the buffer at 0x%llx",
			      (unsigned long long)iova);
	a->ops->check_refused(a, iova, DRAY_SIM_WRITE);
}
