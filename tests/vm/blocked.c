// SPDX-License-Identifier: BSD-2-Clause
/*
 * Does the IOMMU really block? A controller is told to read a block into an IOVA twice: while a
 * buffer is mapped there, and after it was unmapped. The first read must arrive, or the second
 * proves nothing; the second must leave the buffer as it was.
 *
 * The controller's own word is not asked: an emulated one reports success for transfers that were
 * blocked. The IOVA of the second read is printed, so that whoever sees the IOMMU's faults can look
 * it up there.
 *
 * usage: vm-blocked PCI-ADDRESS
 */
#include <dray/dray.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme/ctrl.h"
#include "nvme/vfio_bar.h"

#define BLOCK 4096
#define LBA   0

enum { STORED = 0x5a, UNTOUCHED = 0xa5 };

static void done_fn(void *ctx, int err, uint16_t status)
{
	(void)err;
	(void)status;
	*(bool *)ctx = true;
}

static int fail(const char *what)
{
	fprintf(stderr, "vm-blocked: %s: %s\n", what, dray_errmsg());
	return 1;
}

/* Read the first BLOCK bytes of the namespace into @iova, whatever is there. */
static int read_into(struct nvme_ctrl *ctrl, dray_iova_t iova)
{
	const struct nvme_info *info = nvme_get_info(ctrl);
	struct nvme_queue *q = nvme_get_queue(ctrl, 0);
	struct nvme_cmd cmd = {
		.opcode = NVME_IO_READ,
		.nsid = nvme_to_le32(info->nsid),
		.prp1 = nvme_to_le64(iova),
		.cdw10 = nvme_to_le32(LBA),
		.cdw12 = nvme_to_le32(BLOCK / info->block - 1),
	};
	bool done = false;
	unsigned slot;
	int err = nvme_slot_peek(q, &slot);

	if (err)
		return err;
	nvme_slot_post(q, slot, &cmd, done_fn, &done);
	nvme_wait(q, &done);
	return 0;
}

static bool is_all(const unsigned char *p, unsigned char value)
{
	for (size_t i = 0; i < BLOCK; i++)
		if (p[i] != value)
			return false;
	return true;
}

static int run(struct dray_device *dev, struct nvme_ctrl *ctrl, unsigned char *buf)
{
	struct dray_mapping m;
	dray_iova_t iova;

	memset(buf, STORED, BLOCK);
	if (nvme_write(nvme_get_queue(ctrl, 0), LBA, buf, BLOCK))
		return fail("writing the block");

	memset(buf, UNTOUCHED, BLOCK);
	if (dray_map(dev, buf, BLOCK, DRAY_FROM_DEVICE, 0, &m))
		return fail("mapping the buffer");
	iova = m.iova;
	if (read_into(ctrl, iova))
		return fail("reading while mapped");
	dray_unmap(dev, &m);
	if (!is_all(buf, STORED)) {
		fprintf(stderr, "vm-blocked: the read of a mapped buffer did not arrive\n");
		return 1;
	}

	memset(buf, UNTOUCHED, BLOCK);
	if (read_into(ctrl, iova))
		return fail("reading after unmap");
	if (!is_all(buf, UNTOUCHED)) {
		fprintf(stderr, "vm-blocked: a read after unmap reached the buffer\n");
		return 1;
	}
	printf("blocked 0x%" PRIx64 "\n", iova);
	return 0;
}

int main(int argc, char **argv)
{
	struct dray_domain_opts opts = { .size = sizeof(opts) };
	struct nvme_vfio_bar bar = { 0 };
	struct nvme_ctrl *ctrl = NULL;
	struct dray_device *dev = NULL;
	struct dray_domain *dom = NULL;
	unsigned char *buf = aligned_alloc(BLOCK, BLOCK);
	int ret = 1;

	if (argc != 2 || !buf) {
		fprintf(stderr, "usage: vm-blocked PCI-ADDRESS\n");
		free(buf);
		return 2;
	}
	if (dray_domain_open(&opts, &dom) || dray_device_open(dom, argv[1], NULL, &dev))
		ret = fail("opening the device");
	else if (nvme_vfio_bar_open(dray_device_fd(dev), argv[1], &bar) ||
		 nvme_open(dev, bar.bar, bar.len, NULL, &ctrl))
		ret = fail("opening the controller");
	else
		ret = run(dev, ctrl, buf);
	nvme_close(ctrl);
	nvme_vfio_bar_close(&bar);
	dray_device_close(dev);
	dray_domain_close(dom);
	free(buf);
	return ret;
}
