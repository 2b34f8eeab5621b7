// SPDX-License-Identifier: BSD-2-Clause
/*
 * Random registering, unregistering, mapping and asking, against a slow oracle: a word for each
 * page of a small piece of memory. Usage: prop-region [OPS [SEED]], or DRAY_OPS and DRAY_SEED. The
 * seed is printed.
 */
#include "../../unit/region/rig.h"

#define PAGES   4096u /* eight blocks of 2 MiB, across an edge of 1 GiB */
#define REGIONS 40u
#define OUT     64u
#define FIRST   AT(7 * GB1 - 3 * MB2)

static uint64_t seed = 0x5eed, ops = 500000;
static uint64_t registered, entered, refused; /* that the dice let something happen */

struct known {
	struct dray_region *g; /* NULL: none */
	unsigned page, n, out;
	uint32_t flags;
	dray_iova_t iova;
};

static struct known known[REGIONS];
static unsigned whose[PAGES]; /* 1 + the region's place in known; 0 none */
static struct {
	unsigned region; /* 1 + place */
	uint32_t index;
} out[OUT];

static uint64_t draw(uint64_t n)
{
	/* xorshift64* */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(2685821657736338717) % n;
}

static char *address(unsigned page)
{
	return (char *)FIRST + (size_t)page * KB4;
}

/* Short ones mostly, and whole blocks of 2 MiB now and then. */
static void draw_range(unsigned *ret_page, unsigned *ret_n)
{
	unsigned page = (unsigned)draw(PAGES), n;

	switch (draw(4)) {
	case 0:
		page &= ~511u;
		n = 512 * (1 + (unsigned)draw(3));
		break;
	case 1:
		n = 1 + (unsigned)draw(1500);
		break;
	default:
		n = 1 + (unsigned)draw(20);
	}
	*ret_page = page;
	*ret_n = page + n > PAGES ? PAGES - page : n;
}

static bool any_taken(unsigned page, unsigned n)
{
	for (unsigned i = page; i < page + n; i++)
		if (whose[i])
			return true;
	return false;
}

/* Outside the window, so that only the regions themselves know who has what. */
static dray_iova_t premapped_at(unsigned slot)
{
	return (UINT64_C(1) << 47) + slot * UINT64_C(64) * MB2 + draw(30) * KB4;
}

static void register_one(unsigned slot)
{
	static const uint32_t choice[] = {
		0, DRAY_REGION_READ_ONLY, DRAY_REGION_SHARE_UNTRUSTED, DRAY_REGION_PREMAPPED,
		DRAY_REGION_READ_ONLY | DRAY_REGION_SHARE_UNTRUSTED,
	};
	struct known k = { .flags = choice[draw(5)], .iova = DRAY_IOVA_NONE };
	uint64_t live = rig.mapped;
	int err, want;

	draw_range(&k.page, &k.n);
	if (k.flags & DRAY_REGION_PREMAPPED)
		k.iova = premapped_at(slot);
	if (draw(8) == 0)
		rig.fail_alloc = 1 + (unsigned)draw(4);
	want = any_taken(k.page, k.n) ? -EEXIST : 0;
	err = add_at(k.iova, address(k.page), k.n * KB4, k.flags, &k.g);
	rig.fail_alloc = 0;
	if (err == -ENOMEM) {
		assert_int_equal(rig.mapped, live);
		return;
	}
	assert_int_equal(err, want);
	if (err)
		return;
	k.iova = translate(address(k.page), NULL);
	registered++;
	known[slot] = k;
	for (unsigned i = k.page; i < k.page + k.n; i++)
		whose[i] = slot + 1;
}

static void unregister_one(unsigned slot)
{
	struct known *k = &known[slot];
	struct dray_region *g = k->g;

	assert_int_equal(drop(g), k->out ? -EBUSY : 0);
	refused += k->out != 0;
	if (k->out)
		return;
	for (unsigned i = k->page; i < k->page + k->n; i++)
		whose[i] = 0;
	k->g = NULL;
	assert_int_equal(drop(g), -EINVAL);
}

/* What the oracle says of [page, off ...): how far IOVA goes on without a gap. */
static size_t contiguous(unsigned page, size_t off, size_t want)
{
	const struct known *k = &known[whose[page] - 1];
	dray_iova_t at = k->iova + (page - k->page) * KB4;
	size_t have = KB4 - off;

	while (have < want && ++page < PAGES && whose[page]) {
		k = &known[whose[page] - 1];
		at += KB4;
		if (k->iova + (page - k->page) * KB4 != at)
			break;
		have += KB4;
	}
	return have < want ? have : want;
}

static void ask(void)
{
	unsigned page = (unsigned)draw(PAGES);
	size_t off = draw(KB4), want = 1 + draw(draw(3) ? 2 * KB4 : 8 * MB2), len = want;
	dray_iova_t iova = translate(address(page) + off, &len);
	const struct known *k;

	if (!whose[page]) {
		assert_int_equal(iova, DRAY_IOVA_NONE);
		assert_int_equal(len, want);
		return;
	}
	k = &known[whose[page] - 1];
	assert_int_equal(iova, k->iova + (page - k->page) * KB4 + off);
	assert_int_equal(len, contiguous(page, off, want));
	if (k->flags & DRAY_REGION_PREMAPPED) {
		assert_ptr_equal(dr_regions_va(rig.r, iova), address(page) + off);
		assert_null(dr_pgtable_va(rig.io.pt, iova));
	} else {
		assert_null(dr_regions_va(rig.r, iova));
		assert_ptr_equal(dr_pgtable_va(rig.io.pt, iova), address(page) + off);
	}
}

static void map_one(unsigned place)
{
	unsigned page = (unsigned)draw(PAGES);
	size_t off = draw(KB4), len = 1 + draw(draw(3) ? 2 * KB4 : 8 * MB2);
	enum dray_dir dir = (enum dray_dir)draw(3);
	unsigned last = (unsigned)(page + (off + len - 1) / KB4);
	dray_iova_t iova;
	uint32_t index;
	bool want, got = enter(address(page) + off, len, dir, &iova, &index);
	struct known *k;

	want = whose[page] && last < PAGES && whose[last] == whose[page] &&
	       (dir == DRAY_TO_DEVICE || !(known[whose[page] - 1].flags & DRAY_REGION_READ_ONLY));
	assert_int_equal(got, want);
	if (!got)
		return;
	k = &known[whose[page] - 1];
	assert_int_equal(iova, k->iova + (page - k->page) * KB4 + off);
	assert_int_equal(index, k->g->index);
	entered++;
	k->out++;
	out[place].region = whose[page];
	out[place].index = index;
}

static void unmap_one(unsigned place)
{
	known[out[place].region - 1].out--;
	out[place].region = 0;
	leave(out[place].index);
}

static void survey(void)
{
	bool any = false, private = false, above = false;
	uint64_t leaks = 0, mask = draw(2) ? (UINT64_C(1) << 47) - 1 : UINT32_MAX;

	for (unsigned i = 0; i < REGIONS; i++) {
		const struct known *k = &known[i];

		if (!k->g)
			continue;
		any = true;
		private |= !(k->flags & DRAY_REGION_SHARE_UNTRUSTED);
		above |= k->out && k->iova + k->n * KB4 - 1 > mask;
		leaks += k->out;
	}
	assert_int_equal(dr_regions_any(rig.r, 0), any);
	assert_int_equal(dr_regions_any(rig.r, DRAY_REGION_SHARE_UNTRUSTED), private);
	assert_int_equal(dr_regions_out_above(rig.r, mask), above);
	assert_true(dr_regions_is_valid(rig.r));
	if (draw(4))
		return;
	assert_int_equal(dr_regions_clear_leaks(rig.r), leaks);
	memset(out, 0, sizeof(out));
	for (unsigned i = 0; i < REGIONS; i++)
		known[i].out = 0;
}

static void regions_do_as_the_oracle(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < ops; i++) {
		unsigned slot = (unsigned)draw(REGIONS), place = (unsigned)draw(OUT);

		switch (draw(8)) {
		case 0:
			known[slot].g ? unregister_one(slot) : register_one(slot);
			break;
		case 1:
		case 2:
		case 3:
			ask();
			break;
		default:
			out[place].region ? unmap_one(place) : map_one(place);
		}
		if (draw(1000) == 0)
			survey();
	}
	for (unsigned i = 0; i < OUT; i++)
		if (out[i].region)
			unmap_one(i);
	for (unsigned i = 0; i < REGIONS; i++)
		if (known[i].g)
			unregister_one(i);
	assert_int_equal(rig.mapped, 0);
	print_message("%llu registered, %llu mapped, %llu kept by mappings\n",
		      (unsigned long long)registered, (unsigned long long)entered,
		      (unsigned long long)refused);
	assert_true(registered > ops / 200 && entered > ops / 100 && refused > ops / 500);
}

/* A number from the command line or the environment, in any base; 0 is the default. */
static uint64_t setting(const char *arg, const char *name, uint64_t otherwise)
{
	const char *text = arg ? arg : getenv(name);
	uint64_t value = text ? strtoull(text, NULL, 0) : 0;

	return value ? value : otherwise;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(regions_do_as_the_oracle, rig_setup, rig_teardown),
	};

	ops = setting(argc > 1 ? argv[1] : NULL, "DRAY_OPS", ops);
	seed = setting(argc > 2 ? argv[2] : NULL, "DRAY_SEED", seed);
	printf("prop-region: %llu operations, seed 0x%llx\n", (unsigned long long)ops,
	       (unsigned long long)seed);
	fflush(stdout);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
