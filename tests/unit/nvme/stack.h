/* SPDX-License-Identifier: BSD-2-Clause */
/* Domain, device, controller model and driver for a test, with a clock that it can move. */
#ifndef TEST_NVME_STACK_H
#define TEST_NVME_STACK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dray/dray.h>
#include <dray/sim.h>

#include "nvme/model.h"
#include "nvme/nvme.h"

struct stack {
	char image[32];
	struct dray_domain *dom;
	struct dray_device *dev;
	struct nvme_model *model;
	void *bar;
	size_t bar_len;
	struct nvme_ctrl *ctrl;
};

/* Group setup and teardown: hooks with the clock below and an allocator that can fail. */
int stack_hooks(void **state);
int stack_unhook(void **state);

/* The clock goes on from @ms later. */
void stack_jump_ms(uint32_t ms);
/* Every look at the clock moves it by @ns as well; 0 is off. */
void stack_fast_clock(uint64_t ns);
/* The @n-th allocation from now on fails, and only that; 0 is none. */
void stack_fail_alloc(unsigned n);
/* Has it happened? */
bool stack_alloc_failed(void);

/* A new image of @bytes, filled with a pattern of its position, in @s->image. */
void stack_image(struct stack *s, size_t bytes);
/* Domain, device and model on the image. NULL is defaults. */
void stack_model(struct stack *s, const struct nvme_model_opts *opts);
/* The same in a domain of this mode, as a device of this alignment. */
void stack_model_in(struct stack *s, const struct nvme_model_opts *opts,
		    enum dray_invalidation mode, size_t min_align);
/* The driver on top. */
void stack_driver(struct stack *s, const struct nvme_opts *opts);
/* All three, with an image of @bytes. */
void stack_open(struct stack *s, size_t bytes, const struct nvme_model_opts *mo,
		const struct nvme_opts *no);
/* Close what is open; as many unmaps as maps, nothing leaked, nothing refused. */
void stack_close(struct stack *s);

/* What the image has at @off. */
void stack_image_read(const struct stack *s, uint64_t off, void *buf, size_t len);
/* The byte that stack_image() puts at @off. */
unsigned char stack_pattern(uint64_t off);
/* Wait until the model has fetched @n I/O commands in all. */
void stack_await_fetched(const struct stack *s, uint64_t n);
/* Page-aligned memory, released by free(). */
void *stack_pages(size_t len);

#endif
