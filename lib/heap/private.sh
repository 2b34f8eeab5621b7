#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Makes one object file of a jemalloc archive, in which only what libdray-heap calls is visible, and
# that under dr_je_ names.
#
# usage: private.sh LD OBJCOPY ARCHIVE OUTPUT
#
# jemalloc's malloc, free and so on become local symbols: neither the host nor our own code, nor
# anything linked statically beside it, can bind to them. Its reading of MALLOC_CONF and
# /etc/malloc.conf is turned to conf.c, and so are two of its settings.
set -eu

ld=$1
objcopy=$2
archive=$3
output=$4
whole=$output.whole

calls="mallocx dallocx mallctl"
undefined=
options="--redefine-sym malloc_conf=dr_je_conf --keep-global-symbol=dr_je_conf
	--redefine-sym secure_getenv=dr_je_secure_getenv --redefine-sym getenv=dr_je_getenv
	--redefine-sym readlink=dr_je_readlink
	--redefine-sym je_opt_cache_oblivious=dr_je_cache_oblivious
	--keep-global-symbol=dr_je_cache_oblivious
	--weaken-symbol=dr_je_cache_oblivious"
for call in $calls; do
	undefined="$undefined -u $call"
	options="$options --redefine-sym $call=dr_je_$call --keep-global-symbol=dr_je_$call"
done

trap 'rm -f "$whole"' EXIT
# Only the members that these calls need: the archive's operator new would ask for libstdc++.
# shellcheck disable=SC2086
"$ld" -r -o "$whole" $undefined "$archive"
# shellcheck disable=SC2086
"$objcopy" $options "$whole" "$output"
