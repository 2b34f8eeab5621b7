// SPDX-License-Identifier: BSD-2-Clause
/*
 * Options shared by the NVMe commands. Each command has an argp of its own with this one as its
 * child, so --help shows both groups. Bad values are refused here, before anything is opened; the
 * limits are those of the driver and the model, which check again what a caller gives them.
 */
#include "nvme/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum key {
	KEY_DEVICE = 256,
	KEY_SIM,
	KEY_JSON,
	KEY_QUEUES,
	KEY_QD,
	KEY_SIZE,
	KEY_NAMESPACE,
	KEY_TIMEOUT,
	KEY_MODE,
	KEY_STRAIN,
	KEY_NO_SGL,
	KEY_IMAGE_SIZE,
	KEY_BLOCK,
	KEY_LATENCY,
	KEY_IN_ORDER,
	KEY_SEED,
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "Which controller (one of these):", 1},
	{"device", KEY_DEVICE, "ADDRESS", 0, "a real one bound to vfio-pci: 0000:01:00.0", 0},
	{"sim", KEY_SIM, "IMAGE", 0,
	 "a model of one on the software IOMMU, with this file behind it; needs no hardware", 0},
	{NULL, 0, NULL, 0, "How to use it:", 2},
	{"queues", KEY_QUEUES, "N", 0, "I/O queue pairs", 0},
	{"qd", KEY_QD, "N", 0, "commands in flight per queue", 0},
	{"size", KEY_SIZE, "BYTES", 0, "bytes of one command; k and M are understood", 0},
	{"namespace", KEY_NAMESPACE, "N", 0, "namespace (default: the first active one)", 0},
	{"timeout", KEY_TIMEOUT, "MS", 0, "longest life of a command (default 10000)", 0},
	{"mode", KEY_MODE, "strict|lazy", 0, "invalidation of the domain (default strict)", 0},
	{"strain", KEY_STRAIN, NULL, 0, "a second thread maps and unmaps in the domain meanwhile", 0},
	{"no-sgl", KEY_NO_SGL, NULL, 0, "leave the controller's scatter-gather lists alone", 0},
	{"json", KEY_JSON, NULL, 0, "print JSON", 0},
	{NULL, 0, NULL, 0, "Of the model (with --sim):", 3},
	{"image-size", KEY_IMAGE_SIZE, "BYTES", 0, "length of an image that is created", 0},
	{"block", KEY_BLOCK, "512|4096", 0, "bytes of a block (default 512)", 0},
	{"latency", KEY_LATENCY, "US", 0, "least time of a command, microseconds (default 0)", 0},
	{"in-order", KEY_IN_ORDER, NULL, 0, "complete commands in the order they came", 0},
	{"seed", KEY_SEED, "N", 0, "of the order in which commands complete (default 1)", 0},
	{0},
};

uint64_t nvme_args_number(struct argp_state *state, const char *option, const char *text,
			  uint64_t least, uint64_t most)
{
	static const char units[] = "kMGT";
	unsigned long long n;
	const char *unit;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || !isdigit((unsigned char)text[0]))
		argp_error(state, "--%s '%s' is not a number; give one from %llu to %llu", option,
			   text, (unsigned long long)least, (unsigned long long)most);
	unit = *end ? strchr(units, *end == 'K' ? 'k' : *end) : NULL;
	if (unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		/* What overflows is too large, whatever was asked for. */
		n = n > UINT64_MAX >> shift ? UINT64_MAX : n << shift;
		end++;
	}
	if (*end || n < least || n > most)
		argp_error(state, "--%s '%s' is out of range or has an unknown unit; give a number "
				  "from %llu to %llu",
			   option, text, (unsigned long long)least, (unsigned long long)most);
	return n;
}

static void check(struct argp_state *state, const struct nvme_args *a)
{
	if (!a->device == !a->image)
		argp_error(state, "%s; give either --device ADDRESS or --sim IMAGE",
			   a->device ? "two controllers were named" : "no controller was named");
	if (a->device && (a->image_bytes || a->block || a->latency_us || a->in_order || a->seed))
		argp_error(state, "--image-size, --block, --latency, --in-order and --seed shape "
				  "the model; give them with --sim");
	if (a->image_bytes % (a->block ? a->block : 512))
		argp_error(state, "--image-size is not whole blocks of %u; round it up",
			   a->block ? a->block : 512);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct nvme_args *a = state->input;

	switch ((int)key) {
	case KEY_DEVICE:
		a->device = arg;
		break;
	case KEY_SIM:
		a->image = arg;
		break;
	case KEY_JSON:
		a->json = true;
		break;
	case KEY_QUEUES:
		a->queues = (unsigned)nvme_args_number(state, "queues", arg, 1, 255);
		break;
	case KEY_QD:
		a->depth = (unsigned)nvme_args_number(state, "qd", arg, 1, 1023);
		break;
	case KEY_SIZE:
		a->io_bytes = (size_t)nvme_args_number(state, "size", arg, 512, 16u << 20);
		break;
	case KEY_NAMESPACE:
		a->nsid = (uint32_t)nvme_args_number(state, "namespace", arg, 1, 0xfffffffe);
		break;
	case KEY_TIMEOUT:
		a->timeout_ms = (uint32_t)nvme_args_number(state, "timeout", arg, 1, 3600000);
		break;
	case KEY_MODE:
		if (strcmp(arg, "strict") != 0 && strcmp(arg, "lazy") != 0)
			argp_error(state, "--mode '%s' is unknown; give strict or lazy", arg);
		a->lazy = arg[0] == 'l';
		break;
	case KEY_STRAIN:
		a->strain = true;
		break;
	case KEY_NO_SGL:
		a->no_sgl = true;
		break;
	case KEY_IMAGE_SIZE:
		a->image_bytes = nvme_args_number(state, "image-size", arg, 512, UINT64_C(1) << 62);
		break;
	case KEY_BLOCK:
		a->block = (uint32_t)nvme_args_number(state, "block", arg, 512, 4096);
		if (a->block != 512 && a->block != 4096)
			argp_error(state, "--block %u is unknown; give 512 or 4096", a->block);
		break;
	case KEY_LATENCY:
		a->latency_us = (uint32_t)nvme_args_number(state, "latency", arg, 0, 10000000);
		break;
	case KEY_IN_ORDER:
		a->in_order = true;
		break;
	case KEY_SEED:
		a->seed = nvme_args_number(state, "seed", arg, 1, UINT64_MAX);
		break;
	case ARGP_KEY_END:
		check(state, a);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp nvme_args_argp = {.options = options, .parser = parse};

error_t nvme_args_parse(const struct argp *own, int argc, char **argv, void *input)
{
	return argp_parse(own, argc, argv, 0, NULL, input);
}
