// SPDX-License-Identifier: BSD-2-Clause
/* A C++ program that uses every public header, against the shared library. */
#include <dray/dray.h>
#include <dray/sim.h>

#include <cstdio>
#include <cstring>
#include <vector>

namespace
{

bool says(bool good, const char *what)
{
	if (!good)
		std::printf("%s failed: %s\n", what, dray_errmsg());
	return good;
}

bool works()
{
	dray_domain_opts opts = {};
	dray_domain *dom = nullptr;
	dray_device *dev = nullptr;
	dray_mapping ring_map = {}, map = {};
	dray_iova_space *space = nullptr;
	void *ring = nullptr;
	std::vector<char> buffer(8192, 'x');
	char seen = 0;

	opts.size = sizeof(opts);
	opts.backend = DRAY_BACKEND_SIM;
	if (!says(!dray_domain_open(&opts, &dom), "domain") ||
	    !says(!dray_device_open(dom, "sim0", nullptr, &dev), "device") ||
	    !says(!dray_coherent_alloc(dev, 4096, 0, &ring, &ring_map), "coherent") ||
	    !says(!dray_map(dev, buffer.data(), buffer.size(), DRAY_TO_DEVICE, 0, &map), "map") ||
	    !says(!dray_sim_read(dev, map.iova + 5000, &seen, 1) && seen == 'x', "DMA") ||
	    !says(!dray_iova_space_open(nullptr, &space), "space") ||
	    !says(dray_iova_alloc(space, 4096, 0, 0) != DRAY_IOVA_NONE, "alloc"))
		return false;
	dray_unmap(dev, &map);
	dray_coherent_free(dev, ring, &ring_map);
	dray_stats stats = {};
	stats.size = sizeof(stats);
	if (!says(!dray_stats_get(dom, &stats) && stats.maps == stats.unmaps, "books"))
		return false;
	dray_iova_space_close(space);
	dray_device_close(dev);
	dray_domain_close(dom);
	return std::strlen(dray_version()) > 0;
}

} // namespace

int main()
{
	return works() ? 0 : 1;
}
