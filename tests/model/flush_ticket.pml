/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Model of the flush queue of lib/flush: two threads that unmap lazily, one that flushes by the
 * clock and gives back what they leave, and either one that switches to strict, or one that maps
 * and unmaps strictly wherever an address is free, so in the gaps of a range too. Checked: no
 * address is reused before its flush, no live mapping is unmapped by a range, no entry is lost, strict is
 * strict, nobody waits for ever.
 *
 * What is modelled, step by step as the code does it:
 *
 *   put        retire; write the slot; head; look at the mode again (queue.c, flush.c 6)
 *   flush      lock; begun; aim: read each head into its target; gather; hold each gap; one call of
 *              the kernel for a range; give the gaps; done = target; ended (flush.c, merge.c)
 *   join       a number read before the lock is wanted; a flush that began later will do
 *   harvest    the harvest lock; from tail to done give the address back; tail
 *   barriers   the model is sequentially consistent: that a head and the mode are ordered in every
 *              thread is what membarrier gives, and is not questioned here.
 *
 * An address is free, live, retired or held. Apart from that the kernel has a mapping there or not,
 * which only calls of the kernel change, and which every step that believes something about it
 * asserts. In the end all addresses are free and all tickets given back.
 *
 * BUG 1: a flush ends by storing the heads of its end. BUG 2: gaps are covered without being held.
 * BUG 3: an unmap does not look at the mode again. BUG 4: a flush that began before the wish will
 * do. BUG 5: an address is given back when it is queued, not when it is flushed.
 */
#ifndef BUG
#define BUG 0
#endif

#define UNMAPPERS 2
#define ROUNDS    2 /* mappings that the first unmapper makes and puts; the second one less */
#define IOVAS     3
#define CAP       1 /* entries bound */
#define SLOTS     2
#define NONE      255

/* of an address */
#define FREE    0
#define LIVE    1
#define RETIRED 2
#define HELD    3

byte state[IOVAS];
bool kernel[IOVAS]; /* the kernel has a mapping */

byte slot[UNMAPPERS * SLOTS];
byte head[UNMAPPERS], done[UNMAPPERS], target[UNMAPPERS], tail[UNMAPPERS];
byte returned[UNMAPPERS]; /* ghost: puts that have returned */
bool harvesting[UNMAPPERS];

bool lock, strict;
byte begun, ended;
bool want[IOVAS]; /* what the flush under way is for; lock */
bool switched;    /* ghost: the switch has returned */
byte gone;

/*
 * A free address, by the allocator's own lock; NONE: there is none. One unmapper takes the lowest,
 * one the highest, so that a gap comes to be between them; the mapper takes any.
 */
inline take(who, ret)
{
	atomic {
		if
		:: who != 0 && state[0] == FREE -> ret = 0
		:: who != 1 && state[2] == FREE -> ret = 2
		:: (who == 2 || state[2 - 2 * who] != FREE) && state[1] == FREE -> ret = 1
		:: who == 0 && state[2] != FREE && state[1] != FREE && state[0] == FREE -> ret = 0
		:: who == 1 && state[0] != FREE && state[1] != FREE && state[2] == FREE -> ret = 2
		:: else -> ret = NONE
		fi;
		if
		:: ret != NONE -> state[ret] = LIVE
		:: else -> skip
		fi
	}
}

inline kernel_map(iova)
{
	/* A mapping that is there already is what reuse before the flush looks like. */
	d_step { assert(!kernel[iova]); assert(state[iova] == LIVE); kernel[iova] = true }
}

/* Holds lock. */
inline aim()
{
	begun++;
	target[0] = head[0];
	target[1] = head[1];
	d_step {
		i = 0;
		do
		:: i < IOVAS -> want[i] = false; i++
		:: else -> break
		od;
		q = 0;
		do
		:: q < UNMAPPERS ->
			i = done[q];
			do
			:: i < target[q] ->
				assert(state[slot[q * SLOTS + i % SLOTS]] == RETIRED);
				want[slot[q * SLOTS + i % SLOTS]] = true;
				i++
			:: else -> break
			od;
			q++
		:: else -> break
		od;
		q = 0; i = 0
	}
}

/*
 * Ranges from the bottom up: grow over what is wanted and gaps that can be held, then one call.
 * With three addresses a range has one gap at most, of one address, so growing is one step.
 */
inline unmap_ranges()
{
	first = 0;
	do
	:: atomic {
		i = first;
		do
		:: i < IOVAS && !want[i] -> i++
		:: else -> break
		od;
		first = i;
		last = i;
		do
		:: last + 1 < IOVAS && want[last + 1] -> last++
		:: last + 2 < IOVAS && !want[last + 1] && want[last + 2] &&
		   state[last + 1] == FREE ->
#if BUG != 2
			state[last + 1] = HELD;
#endif
			last = last + 2
		:: else -> break
		od;
		i = 0
	   }
	   if
	   :: first < IOVAS -> skip
	   :: else -> break
	   fi;
	   /* The kernel's own mutex. */
	   i = first;
	   d_step {
		do
		:: i <= last ->
			assert(!kernel[i] || want[i]);
			assert(want[i] -> kernel[i] : true);
			kernel[i] = false;
			i++
		:: else -> break
		od;
		i = first
	   }
	   d_step {
		do
		:: i <= last ->
			if
			:: state[i] == HELD -> state[i] = FREE
			:: else -> skip
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		first = last + 1
	   }
	od;
	first = 0;
	last = 0
}

inline flush_locked()
{
	aim();
	unmap_ranges();
#if BUG == 1
	done[0] = head[0];
	done[1] = head[1];
#else
	done[0] = target[0];
	done[1] = target[1];
#endif
	ended = begun;
	/* Left as it was: fewer states that differ in nothing. */
	d_step { want[0] = false; want[1] = false; want[2] = false; target[0] = 0; target[1] = 0 }
}

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

/* On return everything put before the call is flushed. */
inline flush_now()
{
	wished = begun;
	acquire();
	if
#if BUG == 4
	:: ended >= wished && ended > 0 -> skip
#else
	:: ended > wished -> skip
#endif
	:: else -> flush_locked()
	fi;
	release();
	wished = 0
}

/* Give back what is finished in one queue. */
inline harvest(whose)
{
	atomic { !harvesting[whose] -> harvesting[whose] = true }
	do
#if BUG == 5
	:: tail[whose] < head[whose] ->
#else
	:: tail[whose] < done[whose] ->
#endif
		d_step {
			i = slot[whose * SLOTS + tail[whose] % SLOTS];
			assert(state[i] == RETIRED);
			state[i] = FREE;
			i = 0
		}
		tail[whose]++
	:: else -> break
	od;
	harvesting[whose] = false
}

proctype unmapper(byte me)
{
	byte round, iova, i, q, first, last, wished;

	do
	/* The second one stops earlier: it is symmetry that is saved. */
	:: round < ROUNDS - me ->
		round++;
		take(me, iova);
		if
		:: iova == NONE -> goto next
		:: else -> skip
		fi;
		kernel_map(iova);
		if
		:: strict ->
			d_step { assert(kernel[iova]); kernel[iova] = false }
			state[iova] = FREE;
			goto next
		:: else -> skip
		fi;
		/* room */
		if
		:: head[me] - tail[me] == CAP ->
			harvest(me);
			if
			:: head[me] - tail[me] == CAP ->
				acquire();
				if
				:: done[me] == tail[me] -> flush_locked()
				:: else -> skip
				fi;
				release();
				harvest(me)
			:: else -> skip
			fi;
			assert(head[me] - tail[me] < CAP)
		:: else -> skip
		fi;
		state[iova] = RETIRED;
		d_step {
			slot[me * SLOTS + head[me] % SLOTS] = iova
		}
		head[me]++;
#if BUG != 3
		if
		:: strict -> flush_now()
		:: else -> skip
		fi;
#endif
		/* Strict since before this moment: nothing of this thread waits. */
		skip;
		d_step { assert(switched -> done[me] == head[me] : true); returned[me] = head[me] }
next:		iova = 0
	:: else -> break
	od;
	gone++
}

/* The helper: by the clock, whenever that is; then home with what the others leave. */
proctype helper()
{
	byte i, q, first, last, wished;

	acquire();
	flush_locked();
	release();
	harvest(0);
	harvest(1);
	gone == UNMAPPERS + 1;
	flush_now();
	harvest(0);
	harvest(1);
	d_step {
		i = 0;
		do
		:: i < IOVAS -> assert(state[i] == FREE && !kernel[i]); i++
		:: else -> break
		od;
		assert(tail[0] == head[0] && tail[1] == head[1])
	}
}

proctype switcher()
{
	byte i, q, first, last, wished;

	strict = true;
	flush_now();
	d_step {
		assert(done[0] >= returned[0]);
		assert(done[1] >= returned[1]);
		switched = true
	}
	gone++
}

/* Somebody else, strict, wherever there is room. */
proctype mapper()
{
	byte iova;

	take(2, iova);
	if
	:: iova != NONE ->
		kernel_map(iova);
		/* Here its device is at work: nobody may have taken the mapping away. */
		d_step { assert(kernel[iova]); kernel[iova] = false }
		d_step { assert(state[iova] == LIVE); state[iova] = FREE }
	:: else -> skip
	fi;
	gone++
}

init {
	atomic {
		run unmapper(0);
		run unmapper(1);
		run helper();
		/* One of the two: they have nothing to do with each other, both are too much. */
		if
		:: run switcher()
		:: run mapper()
		fi
	}
}
