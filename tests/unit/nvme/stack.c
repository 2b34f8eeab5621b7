// SPDX-License-Identifier: BSD-2-Clause
#include "stack.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hooks.h"

/* Read by the model's thread too. */
static _Atomic uint64_t clock_ahead, clock_step;
static _Atomic unsigned fail_at;
static _Atomic bool failed;
static struct dr_hooks hooks;

static uint64_t test_clock(void)
{
	uint64_t step = atomic_load(&clock_step);

	return dr_hooks_system.clock_ns() + atomic_fetch_add(&clock_ahead, step);
}

static void *test_alloc(size_t len, size_t align)
{
	if (atomic_load(&fail_at) && atomic_fetch_sub(&fail_at, 1) == 1) {
		atomic_store(&failed, true);
		return NULL;
	}
	return dr_hooks_system.alloc(len, align);
}

int stack_hooks(void **state)
{
	(void)state;
	hooks = dr_hooks_system;
	hooks.clock_ns = test_clock;
	hooks.alloc = test_alloc;
	dr_hooks = &hooks;
	return 0;
}

int stack_unhook(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

void stack_jump_ms(uint32_t ms)
{
	atomic_fetch_add(&clock_ahead, (uint64_t)ms * 1000000);
}

void stack_fast_clock(uint64_t ns)
{
	atomic_store(&clock_step, ns);
}

void stack_fail_alloc(unsigned n)
{
	atomic_store(&failed, false);
	atomic_store(&fail_at, n);
}

bool stack_alloc_failed(void)
{
	return atomic_load(&failed);
}

unsigned char stack_pattern(uint64_t off)
{
	return (unsigned char)(off ^ off >> 9 ^ 0x5a);
}

void stack_image(struct stack *s, size_t bytes)
{
	unsigned char *mem = malloc(bytes);
	int fd;

	strcpy(s->image, "nvme-test-XXXXXX");
	fd = mkstemp(s->image);
	assert_true(fd >= 0);
	assert_non_null(mem);
	for (size_t i = 0; i < bytes; i++)
		mem[i] = stack_pattern(i);
	assert_int_equal(write(fd, mem, bytes), bytes);
	close(fd);
	free(mem);
}

void stack_model(struct stack *s, const struct nvme_model_opts *opts)
{
	stack_model_in(s, opts, DRAY_STRICT, 0);
}

void stack_model_in(struct stack *s, const struct nvme_model_opts *opts,
		    enum dray_invalidation mode, size_t min_align)
{
	struct dray_device_opts dev = {.size = sizeof(dev), .min_align = min_align};
	struct dray_domain_opts dom = {.size = sizeof(dom), .backend = DRAY_BACKEND_SIM,
				       .invalidation = mode};
	struct nvme_model_opts mo = {0};

	if (opts)
		mo = *opts;
	mo.image = s->image;
	assert_int_equal(dray_domain_open(&dom, &s->dom), 0);
	assert_int_equal(dray_device_open(s->dom, "sim0", &dev, &s->dev), 0);
	if (nvme_model_start(s->dev, &mo, &s->model))
		fail_msg("model: %s", dray_errmsg());
	s->bar = nvme_model_bar(s->model, &s->bar_len);
}

void stack_driver(struct stack *s, const struct nvme_opts *opts)
{
	if (nvme_open(s->dev, s->bar, s->bar_len, opts, &s->ctrl))
		fail_msg("driver: %s", dray_errmsg());
}

void stack_open(struct stack *s, size_t bytes, const struct nvme_model_opts *mo,
		const struct nvme_opts *no)
{
	memset(s, 0, sizeof(*s));
	stack_image(s, bytes);
	stack_model(s, mo);
	stack_driver(s, no);
}

void stack_close(struct stack *s)
{
	struct dray_stats st = {.size = sizeof(st)};

	nvme_close(s->ctrl);
	nvme_model_stop(s->model);
	dray_device_close(s->dev);
	if (s->dom) {
		assert_int_equal(dray_stats_get(s->dom, &st), 0);
		assert_int_equal(st.maps, st.unmaps);
		assert_int_equal(st.leaks, 0);
		assert_int_equal(st.unmap_errors, 0);
		assert_int_equal(st.bad_unmaps, 0);
	}
	dray_domain_close(s->dom);
	if (s->image[0])
		unlink(s->image);
	memset(s, 0, sizeof(*s));
}

void stack_image_read(const struct stack *s, uint64_t off, void *buf, size_t len)
{
	int fd = open(s->image, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, len, (off_t)off), len);
	close(fd);
}

void stack_await_fetched(const struct stack *s, uint64_t n)
{
	while (nvme_model_fetched(s->model) < n)
		sched_yield();
}

void *stack_pages(size_t len)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, NVME_PAGE, len), 0);
	memset(p, 0, len);
	return p;
}
