// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "limiter.h"
#include "contract.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRY_FILE "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

int limiter_set_entries(int n)
{
	int fd = open(ENTRY_FILE, O_RDWR);
	char text[32] = "";
	int was;

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	CHECK(sscanf(text, "%d", &was) == 1);
	CHECK(dprintf(fd, "%d\n", n) > 0);
	close(fd);
	return was;
}

void limiter_lock_at_most(size_t bytes)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	struct rlimit lim = { bytes, bytes };

	CHECK(!syscall(SYS_capget, &head, data));
	data[CAP_IPC_LOCK / 32].effective &= ~(1u << (CAP_IPC_LOCK % 32));
	CHECK(!syscall(SYS_capset, &head, data));
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &lim));
}
