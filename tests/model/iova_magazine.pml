/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Model of the magazine hand-off and the depot exchange of lib/iova, with threads leaving and one
 * thread that drains the others. Checked: no IOVA is lost, none is in two places.
 *
 * What is modelled, step by step as the code does it:
 *
 *   depot      two stacks, full and empty, of numbered magazines: head = (tag, top). A push writes
 *              next and then swings the head; a pop reads head, then next, then swings the head if
 *              it is still the same word. Each of these is a step of its own (depot.c).
 *   thread     busy flag, stopped flag, one magazine of two entries (loaded), gives to the chunk
 *              where it has no room and no empty magazine (cache.c). On leaving it hands its
 *              magazine over: full to the depot, else poured into the chunk (seat.c).
 *   drainer    holds the lock, sets stopped, waits for busy to fall, pours the thread's magazine
 *              and the depot into the chunk, and lets go (drain.c). Growth takes the lock too.
 *   barriers   the model is sequentially consistent: that busy and stopped are ordered in every
 *              thread is what membarrier gives, and is not questioned here.
 *
 * Each IOVA has a place; every move asserts where it comes from, so one that is doubled shows when
 * it moves a second time, and one that is lost shows in the end, when the chunk must have all.
 *
 * BUG 1: the head has no tag (ABA). BUG 2: the drainer does not wait for busy.
 */
#ifndef BUG
#define BUG 0
#endif

#define THREADS 2
#define ROUNDS  3 /* takes and gives of each, before it gives what it still has */
#define IOVAS   4
#define MAGS    5
#define CAP     1
#define NONE    255

/* place of an IOVA: CHUNK, LIVE, or IN + the magazine that has it */
#define CHUNK 0
#define LIVE  1
#define IN    2

byte place[IOVAS];

byte next[MAGS];
byte entry[MAGS];        /* CAP is 1: the IOVA, or NONE */
byte holder_of[MAGS];    /* ghost: who may touch it; 0 the depot, t + 1 a thread, 9 the lock */

byte top[2];             /* of the stacks: 0 full, 1 empty; NONE or a magazine */
byte tag[2];

bool busy[THREADS], stopped[THREADS];
byte loaded[THREADS];    /* NONE: it has no magazine */
bool lock;
byte gone;

inline push(who, stack, mag)
{
	assert(holder_of[mag] == who);
	do
	:: d_step { old_top = top[stack]; old_tag = tag[stack]; }
	   next[mag] = old_top;
	   atomic {
		if
		:: top[stack] == old_top && tag[stack] == old_tag ->
			holder_of[mag] = 0;
			top[stack] = mag;
#if BUG != 1
			tag[stack] = (tag[stack] + 1) % 16;
#endif
			break
		:: else -> skip
		fi
	   }
	od
}

inline pop(who, stack, ret)
{
	do
	:: d_step { old_top = top[stack]; old_tag = tag[stack]; }
	   if
	   :: old_top == NONE -> ret = NONE; break
	   :: else -> skip
	   fi;
	   below = next[old_top];
	   atomic {
		if
		:: top[stack] == old_top && tag[stack] == old_tag ->
			assert(holder_of[old_top] == 0);
			holder_of[old_top] = who;
			top[stack] = below;
#if BUG != 1
			tag[stack] = (tag[stack] + 1) % 16;
#endif
			ret = old_top;
			break
		:: else -> skip
		fi
	   }
	od
}

/* An IOVA of a magazine back into the chunk: one fetch_or. */
inline pour(mag)
{
	if
	:: entry[mag] != NONE ->
		assert(place[entry[mag]] == IN + mag);
		place[entry[mag]] = CHUNK;
		entry[mag] = NONE
	:: else -> skip
	fi
}

inline enter(me, ok)
{
	busy[me] = true;
	if
	:: stopped[me] -> busy[me] = false; ok = false
	:: else -> ok = true
	fi
}

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

/* Into held[n]. */
inline take()
{
	iova = NONE;
	enter(me, ok);
	if
	:: ok ->
		if
		:: loaded[me] == NONE || entry[loaded[me]] == NONE ->
			pop(me + 1, 0, mag);
			if
			:: mag != NONE ->
				if
				:: loaded[me] != NONE -> push(me + 1, 1, loaded[me])
				:: else -> skip
				fi;
				loaded[me] = mag
			:: else -> skip
			fi
		:: else -> skip
		fi;
		if
		:: loaded[me] != NONE && entry[loaded[me]] != NONE ->
			atomic {
				iova = entry[loaded[me]];
				entry[loaded[me]] = NONE;
				assert(place[iova] == IN + loaded[me]);
				place[iova] = LIVE
			}
		:: else -> skip
		fi;
		busy[me] = false
	:: else -> skip
	fi;
	/* growth, with the lock and not inside */
	if
	:: iova == NONE ->
		acquire();
		if
		:: loaded[me] == NONE -> pop(me + 1, 1, mag); loaded[me] = mag
		:: else -> skip
		fi;
		atomic {
			i = 0;
			do
			:: i < IOVAS && place[i] != CHUNK -> i++
			:: else -> break
			od;
			if
			:: i < IOVAS -> iova = i; place[i] = LIVE
			:: else -> skip
			fi
		}
		release()
	:: else -> skip
	fi;
	if
	:: iova != NONE -> held[n] = iova; n++
	:: else -> skip
	fi
}

/* held[n - 1]. */
inline give()
{
	n--;
	iova = held[n];
	held[n] = NONE;
	assert(place[iova] == LIVE);
	enter(me, ok);
	if
	:: !ok -> acquire()
	:: else -> skip
	fi;
	if
	:: loaded[me] != NONE && entry[loaded[me]] != NONE ->
		pop(me + 1, 1, mag);
		if
		:: mag != NONE ->
			push(me + 1, 0, loaded[me]);
			loaded[me] = mag
		:: else -> skip
		fi
	:: else -> skip
	fi;
	atomic {
		if
		:: loaded[me] != NONE && entry[loaded[me]] == NONE ->
			place[iova] = IN + loaded[me];
			entry[loaded[me]] = iova
		:: else ->
			place[iova] = CHUNK
		fi
	}
	if
	:: ok -> busy[me] = false
	:: else -> release()
	fi
}

proctype thread(byte me)
{
	byte old_top, old_tag, below, mag, iova, i, round, n;
	byte held[2];
	bool ok;

	round = 0;
	do
	:: round < ROUNDS ->
		round++;
		if
		:: n < 2 -> take()
		:: n > 0 -> give()
		fi
	:: else -> break
	od;
	do
	:: n > 0 -> give()
	:: else -> break
	od;
	/* leave */
	acquire();
	if
	:: loaded[me] != NONE ->
		if
		:: entry[loaded[me]] != NONE -> push(me + 1, 0, loaded[me])
		:: else -> push(me + 1, 1, loaded[me])
		fi;
		loaded[me] = NONE
	:: else -> skip
	fi;
	release();
	gone++
}

inline drain()
{
	acquire();
	t = 0;
	do :: t < THREADS -> stopped[t] = true; t++ :: else -> break od;
	t = 0;
	do
	:: t < THREADS ->
#if BUG != 2
		!busy[t];
#endif
		if
		:: loaded[t] != NONE ->
			mag = loaded[t];
			pour(mag);
			holder_of[mag] = 9;
			loaded[t] = NONE;
			push(9, 1, mag)
		:: else -> skip
		fi;
		t++
	:: else -> break
	od;
	do
	:: pop(9, 0, mag);
	   if
	   :: mag == NONE -> break
	   :: else -> pour(mag); push(9, 1, mag)
	   fi
	od;
	t = 0;
	do :: t < THREADS -> stopped[t] = false; t++ :: else -> break od;
	release()
}

proctype drainer()
{
	byte old_top, old_tag, below, mag, t, i;

	drain();
	gone == THREADS;
	/* All have left: after one more drain the chunk has everything. */
	drain();
	i = 0;
	do
	:: i < IOVAS -> assert(place[i] == CHUNK); i++
	:: else -> break
	od;
	t = 0;
	mag = top[1];
	do
	:: mag != NONE -> assert(t < MAGS); t++; mag = next[mag]
	:: else -> break
	od;
	/* No magazine is lost either. */
	assert(t == MAGS)
}

init {
	byte i;

	atomic {
		i = 0;
		do
		:: i < MAGS -> next[i] = (i == 0 -> NONE : i - 1); entry[i] = NONE; i++
		:: else -> break
		od;
		top[0] = NONE;
		top[1] = MAGS - 1;
		/* Two of the magazines are full and in the depot. */
		entry[MAGS - 1] = 0; place[0] = IN + MAGS - 1;
		entry[MAGS - 2] = 1; place[1] = IN + MAGS - 2;
		top[1] = MAGS - 3;
		top[0] = MAGS - 1;
		next[MAGS - 1] = MAGS - 2;
		next[MAGS - 2] = NONE;
		loaded[0] = NONE; loaded[1] = NONE;
		run thread(0);
		run thread(1);
		run drainer()
	}
}
