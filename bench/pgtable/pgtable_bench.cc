// SPDX-License-Identifier: BSD-2-Clause
/*
 * The mapping table's speed: prepare and set, clear, and lookup of batches of 4 KiB leaves in
 * tables that exist, against a bare loop that stores as many 64-bit words. Figures are per entry.
 * Host addresses are made up; nothing touches them. Batches walk through one table (2 MiB of IOVA),
 * which is what an IOVA cache hands out, so the table is warm and the entries are in the
 * first-level cache.
 *
 * Run with --benchmark_repetitions=N --benchmark_enable_random_interleaving=true for median and
 * spread of interleaved runs.
 */
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>

extern "C" {
#include "pgtable/pgtable.h"
}

namespace
{

constexpr uint64_t page = 4096;
constexpr uint64_t table_pages = 512;
constexpr dray_iova_t base = UINT64_C(3) << 30;
constexpr uint64_t bits = DR_PTE_READ | DR_PTE_WRITE;

/* Not congruent to base, so that a batch is 4 KiB leaves whatever its length. */
void *host(uint64_t index)
{
	return reinterpret_cast<void *>(UINT64_C(0x7f0000001000) + index * page);
}

/* Where the next batch begins. The last page is left alone, so that no clear covers a table. */
struct cursor {
	uint64_t at = 0, step;

	explicit cursor(uint64_t n) : step(n)
	{
	}
	uint64_t next()
	{
		uint64_t now = at;

		at = at + 2 * step < table_pages ? at + step : 0;
		return now;
	}
};

struct table {
	dr_pgtable *pt;

	table()
	{
		if (dr_pgtable_open(DR_PT_PAGE_SIZES, &pt) ||
		    dr_pgtable_prepare(pt, base, host(0), table_pages * page))
			abort();
	}
	~table()
	{
		dr_pgtable_close(pt);
	}
};

void per_entry(benchmark::State &state, uint64_t n)
{
	state.counters["entry"] = benchmark::Counter(
		static_cast<double>(n),
		benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

/* What memory takes: the same stores in a bare array. */
void stores(benchmark::State &state)
{
	uint64_t n = static_cast<uint64_t>(state.range(0));
	static uint64_t array[table_pages];
	cursor c(n);

	for (auto _ : state) {
		uint64_t entry = reinterpret_cast<uint64_t>(host(0)) | bits;
		uint64_t *p = array + c.next();

		/* Relaxed atomics: plain stores would become vector stores, or one. */
		for (uint64_t *end = p + n; p < end; p++, entry += page)
			__atomic_store_n(p, entry, __ATOMIC_RELAXED);
		benchmark::ClobberMemory();
	}
	per_entry(state, n);
}

/* Set over set: the entries are overwritten, which costs what writing empty ones costs. */
void set(benchmark::State &state)
{
	uint64_t n = static_cast<uint64_t>(state.range(0));
	cursor c(n);
	table t;

	for (auto _ : state) {
		uint64_t at = c.next();

		dr_pgtable_set(t.pt, base + at * page, host(at), n * page, bits);
	}
	per_entry(state, n);
}

void prepare_set(benchmark::State &state)
{
	uint64_t n = static_cast<uint64_t>(state.range(0));
	cursor c(n);
	table t;

	for (auto _ : state) {
		uint64_t at = c.next();

		if (dr_pgtable_prepare(t.pt, base + at * page, host(at), n * page))
			abort();
		dr_pgtable_set(t.pt, base + at * page, host(at), n * page, bits);
	}
	per_entry(state, n);
}

/* Everything a strict map and unmap ask of the table; its clear is this less prepare_set. */
void prepare_set_clear(benchmark::State &state)
{
	uint64_t n = static_cast<uint64_t>(state.range(0));
	cursor c(n);
	table t;

	for (auto _ : state) {
		uint64_t at = c.next();

		if (dr_pgtable_prepare(t.pt, base + at * page, host(at), n * page))
			abort();
		dr_pgtable_set(t.pt, base + at * page, host(at), n * page, bits);
		if (dr_pgtable_clear(t.pt, base + at * page, n * page) != n * page)
			abort();
	}
	per_entry(state, n);
}

void lookup(benchmark::State &state)
{
	uint64_t n = static_cast<uint64_t>(state.range(0));
	uint64_t sum = 0;
	cursor c(n);
	table t;

	dr_pgtable_set(t.pt, base, host(0), table_pages * page, bits);
	for (auto _ : state) {
		dray_iova_t iova = base + c.next() * page;

		for (uint64_t i = 0; i < n; i++) {
			unsigned shift;

			sum += dr_pgtable_lookup(t.pt, iova + i * page, &shift);
		}
	}
	benchmark::DoNotOptimize(sum);
	per_entry(state, n);
}

BENCHMARK(stores)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK(set)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK(prepare_set)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK(prepare_set_clear)->Arg(1)->Arg(16)->Arg(256);
BENCHMARK(lookup)->Arg(1)->Arg(16)->Arg(256);

} // namespace

BENCHMARK_MAIN();
