// SPDX-License-Identifier: BSD-2-Clause
/* The status table. Order does not matter: a lookup happens only for commands that failed. */
#include "nvme/status.h"

#include <errno.h>
#include <stddef.h>

#include "nvme/spec.h"

#define DRIVER_FIX "this is the driver's mistake; report the command"
#define RANGE_FIX  "`dray nvme identify` tells how many blocks the namespace has"
#define MEDIA_FIX  "the medium or the image file behind it fails; check it and its disk"
#define REACH_FIX  "the buffer was not reachable for the device; keep it mapped until completion"

static const struct nvme_status_info table[] = {
	{NVME_OK, 0, "Successful Completion", ""},
	{NVME_INVALID_OPCODE, ENOTSUP, "Invalid Command Opcode",
	 "use a controller that has the command"},
	{NVME_INVALID_FIELD, EINVAL, "Invalid Field in Command", DRIVER_FIX},
	{NVME_CID_CONFLICT, EINVAL, "Command ID Conflict", DRIVER_FIX},
	{NVME_DATA_TRANSFER, EIO, "Data Transfer Error", REACH_FIX},
	{NVME_INTERNAL, EIO, "Internal Error", "try again; then reset the controller"},
	{NVME_ABORTED, ECANCELED, "Command Abort Requested", "try again"},
	{NVME_ABORTED_SQ_DELETED, ECANCELED, "Command Aborted due to SQ Deletion",
	 "submit it on a queue that exists"},
	{NVME_INVALID_NAMESPACE, ENODEV, "Invalid Namespace or Format",
	 "`dray nvme identify` tells which namespace there is"},
	{NVME_INVALID_SGL_SEGMENT, EINVAL, "Invalid SGL Segment Descriptor", DRIVER_FIX},
	{NVME_INVALID_SGL_LENGTH, EINVAL, "Data SGL Length Invalid", DRIVER_FIX},
	{NVME_INVALID_SGL_TYPE, EINVAL, "SGL Descriptor Type Invalid", DRIVER_FIX},
	{NVME_INVALID_PRP_OFFSET, EINVAL, "PRP Offset Invalid", DRIVER_FIX},
	{NVME_LBA_RANGE, ERANGE, "LBA Out of Range", RANGE_FIX},
	{NVME_CAPACITY, ENOSPC, "Capacity Exceeded", RANGE_FIX},
	{NVME_NOT_READY, EBUSY, "Namespace Not Ready", "try again"},
	{NVME_CQ_INVALID, EINVAL, "Completion Queue Invalid", DRIVER_FIX},
	{NVME_QID_INVALID, EINVAL, "Invalid Queue Identifier", "use fewer queues"},
	{NVME_QSIZE_INVALID, EINVAL, "Invalid Queue Size", "use a smaller queue depth"},
	{NVME_QUEUE_DELETION, EBUSY, "Invalid Queue Deletion",
	 "delete the submission queues of a completion queue first"},
	{NVME_READ_ONLY, EROFS, "Attempted Write to Read Only Range", "lift the write protection"},
	{NVME_WRITE_FAULT, EIO, "Write Fault", MEDIA_FIX},
	{NVME_READ_ERROR, EIO, "Unrecovered Read Error", MEDIA_FIX},
};

static const struct nvme_status_info unknown = {
	NVME_NO_STATUS, EIO, "status without a name", "look the number up in the NVM Express text"};

const struct nvme_status_info *nvme_status_find(uint16_t status)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].status == status)
			return &table[i];
	return &unknown;
}

const char *nvme_opcode_name(unsigned qid, uint8_t opcode)
{
	if (qid) {
		switch (opcode) {
		case NVME_IO_FLUSH:
			return "flush";
		case NVME_IO_WRITE:
			return "write";
		case NVME_IO_READ:
			return "read";
		default:
			return "I/O command";
		}
	}
	switch (opcode) {
	case NVME_ADMIN_DELETE_SQ:
		return "delete submission queue";
	case NVME_ADMIN_CREATE_SQ:
		return "create submission queue";
	case NVME_ADMIN_DELETE_CQ:
		return "delete completion queue";
	case NVME_ADMIN_CREATE_CQ:
		return "create completion queue";
	case NVME_ADMIN_IDENTIFY:
		return "identify";
	case NVME_ADMIN_ABORT:
		return "abort";
	case NVME_ADMIN_SET_FEATURES:
		return "set features";
	case NVME_ADMIN_GET_FEATURES:
		return "get features";
	default:
		return "admin command";
	}
}
