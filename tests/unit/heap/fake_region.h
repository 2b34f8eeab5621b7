/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions that only remember, in place of libdray's, and a world that counts what a heap takes from
 * it and can refuse the nth time.
 */
#ifndef FAKE_REGION_H
#define FAKE_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/heap.h>

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* A domain that is only passed on. */
extern struct dray_domain *const fake_domain;

struct fake_world {
	/* What registering and unregistering shall do. */
	size_t register_most;    /* bytes; more at once is -ENOMEM; 0 is no limit */
	int register_error;      /* -errno of every registration; 0 none */
	int unregister_error;    /* likewise */
	/* What they did. */
	unsigned registered;     /* regions live */
	unsigned registrations;  /* ever, successful ones */
	size_t bytes;            /* of those live */
	uint32_t flags;          /* of the last one */
	unsigned logged;         /* lines */
	int level;               /* of the last one */
	char line[512];          /* the last one */

	/* What the kernel shall do. */
	bool hugetlb;            /* pretend to have huge pages */
	int populate_error;      /* errno of MADV_POPULATE_WRITE; 0: not asked for real */
	int mbind_error;         /* errno; 0 */
	int snatch;              /* so many times another thread maps where a step wants to go */
	/* What it did. */
	size_t mapped;           /* bytes mapped and not unmapped */
	unsigned allocs;         /* out */
	unsigned hugetlb_asked, thp_asked, no_huge_asked, dontfork_asked;
	unsigned mbinds;
	unsigned long mask;      /* first word of the last mbind */
	/* Refuse the call with this number, from 1; 0 none. */
	unsigned fail_at;
	unsigned calls;
};

extern struct fake_world fake;

/* Before and after each test. */
int fake_start(void **state);
int fake_stop(void **state);

/* A heap with these options that must open. */
struct dray_heap *fake_heap(uint32_t flags, size_t grow_bytes, size_t max_bytes);
struct dray_heap_stats fake_stats(struct dray_heap *heap);

/* This thread's last failure has the word in it. */
void assert_said(const char *word);
/* The world has everything back. */
void assert_all_given_back(void);

#endif
