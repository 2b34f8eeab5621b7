// SPDX-License-Identifier: BSD-2-Clause
/*
 * A file goes there and back while a second thread maps and unmaps in the same domain, in both
 * modes: equal, no fault, nothing left mapped. And loads on every kind of memory.
 */
#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nvme/load.h"
#include "nvme/strain.h"
#include "nvme/stream.h"

#define MIB ((size_t)1 << 20)

#ifdef NVME_HAVE_HEAP
static const bool heap_is_built_in = true;
#else
static const bool heap_is_built_in = false;
#endif

static struct stack s;
static char path[32];
static int fd = -1;

static int close_all(void **state)
{
	(void)state;
	stack_close(&s);
	if (fd >= 0)
		close(fd);
	if (path[0])
		unlink(path);
	fd = -1;
	path[0] = '\0';
	return 0;
}

static void make_file(size_t len)
{
	unsigned char *mem = malloc(len);

	assert_non_null(mem);
	for (size_t i = 0; i < len; i++)
		mem[i] = (unsigned char)(i * 2654435761u >> 13);
	strcpy(path, "nvme-file-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, mem, len), len);
	free(mem);
}

/* Until it has mapped something: it takes part in what follows. */
static void await_strain(const struct nvme_strain *strain)
{
	uint64_t maps = nvme_strain_maps(strain);

	while (nvme_strain_maps(strain) == maps)
		usleep(100);
}

static void strained(enum dray_invalidation mode, bool use_vectors)
{
	const struct nvme_model_opts mo = {.reorder = true, .seed = 3};
	const struct nvme_opts no = {.queues = 2, .depth = 4, .iov = 32};
	struct nvme_stream st = {.bytes = 3 * MIB + 77, .chunk = 65536, .vectors = use_vectors,
				 .seed = 0x5eed};
	struct nvme_stream_result w, r;
	struct nvme_strain *strain = NULL;
	struct dray_sim_fault f;
	uint64_t maps;

	memset(&s, 0, sizeof(s));
	print_message("seed %#llx\n", (unsigned long long)st.seed);
	stack_image(&s, 4 * MIB);
	stack_model_in(&s, &mo, mode, 0);
	stack_driver(&s, &no);
	make_file(3 * MIB + 77);
	st.ctrl = s.ctrl;
	st.fd = fd;
	assert_int_equal(nvme_strain_start(s.dev, 5, &strain), 0);
	await_strain(strain);
	for (unsigned i = 0; i < 2; i++) {
		if (nvme_stream_write(&st, &w) || nvme_stream_compare(&st, &r))
			fail_msg("stream: %s", dray_errmsg());
		assert_true(r.equal);
		assert_memory_equal(w.sha256, r.sha256, sizeof(w.sha256));
	}
	await_strain(strain);
	assert_int_equal(nvme_strain_stop(strain, &maps), 0);
	assert_true(maps >= 2);
	assert_int_equal(dray_sim_faults(s.dev, &f, 1), 0);
}

static void strict_and_strained(void **state)
{
	(void)state;
	strained(DRAY_STRICT, false);
}

static void lazy_and_strained(void **state)
{
	(void)state;
	strained(DRAY_LAZY, false);
}

static void strict_vectors(void **state)
{
	(void)state;
	strained(DRAY_STRICT, true);
}

static void lazy_vectors(void **state)
{
	(void)state;
	strained(DRAY_LAZY, true);
}

/* A domain without room for the strain's buffers: the thread ends, and its sentence is told. */
static void strain_tells_what_failed(void **state)
{
	struct dray_domain_opts dom = {.size = sizeof(dom), .backend = DRAY_BACKEND_SIM,
				       .first = 0x100000, .last = 0x107fff};
	struct nvme_strain *strain = NULL;
	uint64_t maps = 0;

	(void)state;
	memset(&s, 0, sizeof(s));
	assert_int_equal(dray_domain_open(&dom, &s.dom), 0);
	assert_int_equal(dray_device_open(s.dom, "sim0", NULL, &s.dev), 0);
	assert_int_equal(nvme_strain_start(s.dev, 0, &strain), 0);
	/* Eight granules are full after a few; how many is the seed's. */
	while (nvme_strain_running(strain))
		usleep(100);
	assert_int_equal(nvme_strain_stop(strain, &maps), -ENOSPC);
	assert_non_null(strstr(dray_errmsg(), "--strain"));
	assert_int_equal(nvme_strain_stop(NULL, &maps), 0);
}

static void loads_on_every_memory(void **state)
{
	const struct nvme_opts no = {.depth = 8};

	(void)state;
	stack_open(&s, MIB, NULL, &no);
	for (unsigned kind = NVME_MEMORY_MMAP; kind <= NVME_MEMORY_HEAP; kind++) {
		struct nvme_load l = {.ctrl = s.ctrl, .dom = s.dom, .op = NVME_IO_READ,
				      .bytes = 4096, .ns = 10000000, .seed = 9, .memory = kind};
		struct dray_stats before = {.size = sizeof(before)}, after = before;
		struct nvme_load_result *r = calloc(1, sizeof(*r));

		assert_int_equal(nvme_memory_find(nvme_memory_name(kind)), kind);
		if (kind == NVME_MEMORY_HEAP && !heap_is_built_in) {
			assert_int_equal(nvme_load_run(&l, r), -ENOTSUP);
			assert_non_null(strstr(dray_errmsg(), "-Dheap"));
			free(r);
			continue;
		}
		dray_stats_get(s.dom, &before);
		if (nvme_load_run(&l, r))
			fail_msg("%s: %s", nvme_memory_name(kind), dray_errmsg());
		dray_stats_get(s.dom, &after);
		assert_true(r->commands >= 8);
		/* Each command is a backend call of its own, or, in a heap, none is. */
		if (kind == NVME_MEMORY_HEAP)
			assert_in_range(after.backend_maps - before.backend_maps, 1, 7);
		else
			assert_true(after.backend_maps - before.backend_maps >= r->commands);
		/* The array, and what is behind it: at the least the flights. */
		for (unsigned n = 1; n <= (kind == NVME_MEMORY_MALLOC ? 10 : 2); n++) {
			stack_fail_alloc(n);
			assert_int_equal(nvme_load_run(&l, r), -ENOMEM);
			assert_true(stack_alloc_failed());
		}
		stack_fail_alloc(0);
		free(r);
	}
	assert_int_equal(nvme_memory_find("stone"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(strict_and_strained, close_all),
		cmocka_unit_test_teardown(lazy_and_strained, close_all),
		cmocka_unit_test_teardown(strict_vectors, close_all),
		cmocka_unit_test_teardown(lazy_vectors, close_all),
		cmocka_unit_test_teardown(strain_tells_what_failed, close_all),
		cmocka_unit_test_teardown(loads_on_every_memory, close_all),
	};

	return cmocka_run_group_tests(tests, stack_hooks, stack_unhook);
}
