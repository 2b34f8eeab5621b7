/* SPDX-License-Identifier: BSD-2-Clause */
/* The lists of cases, one for each file of them. */
#ifndef CONTRACT_CASES_H
#define CONTRACT_CASES_H

#include "contract.h"

extern const struct contract_case map_cases[], fixed_cases[], explicit_cases[], overlap_cases[],
	replay_cases[], pieces_cases[], refused_cases[], never_cases[], coherent_cases[],
	cow_cases[], types_cases[], switch_cases[], group_cases[], owner_cases[], fork_cases[],
	limit_cases[], backend_cases[], fast_cases[], opts_cases[], window_cases[],
	badinput_cases[], badcall_cases[], race_cases[], fault_cases[], inject_cases[],
	block_cases[], region_cases[], copied_cases[], ownpool_cases[], reason_cases[],
	devinfo_cases[], guard_cases[], linked_cases[], sglist_cases[], trust_cases[],
	lazymore_cases[], lazy_cases[], regionkind_cases[], regionlimit_cases[], heat_cases[];

#endif
