/* SPDX-License-Identifier: MIT */
/*
 * Retry, dedup, life, floor and quorum as src/core does them: one client, the coordinator that it
 * asks, the peers that this one asks, and a network that delays, reorders, repeats and loses what
 * it likes. Each inline names the functions of src/core that it stands for. Whoever waits may give up
 * whenever it likes, so that no clock is needed; any replica may restart, RESTARTS times in all.
 *
 * The network is a set: what was sent can arrive at any later time, any number of times, or never.
 * Node 0 is the coordinator, 1..PEERS are its peers. One more replica stands in the peers file and
 * is down from the beginning, so a quorum of all can never be reached.
 *
 * Where this is coarser than the code it allows more: the window gives back any slot that is not
 * needed, not just the oldest; a handler's time may be over at once; a hello of any life, dead ones
 * too, may come at any time; a peer may be called down at any time. Refusals for want of room or of
 * a hello are no step of their own: to the caller they are a loss and a retry. Left out: callers
 * that are forgotten after ZN_ORIGIN_KEEP_US, which no message outlives; messages without an id; a
 * second coordinator, asked only for what the first was never sent, or what is idempotent.
 *
 * IDEMPOTENT: the caller says so of all requests. Every other name that model/run defines makes the
 * protocol wrong in one way, and has to break the property that stands beside it there.
 */
#ifndef IDS
#define IDS 2
#endif
#ifndef PEERS
#define PEERS 1
#endif
#ifndef RESTARTS
#define RESTARTS 1
#endif

#ifdef IDEMPOTENT
#define idempotent true
#else
#define idempotent false
#endif

#ifdef NO_PIN
#define may_cross true
#else
#define may_cross idempotent
#endif

#define SELF 0
#define NODES (PEERS + 1)
#define LIVES (RESTARTS + 1)

/* Ids and lives count from 1; 0 is none. */
#define at(node, id) ((node) * IDS + (id) - 1)
#define copy_of(peer, id, to, from) \
    (((at((peer) - 1, id) * LIVES) + (to) - 1) * LIVES + (from) - 1)
#define submit_of(id, to) (((id) - 1) * LIVES + (to) - 1)
#define bit(x) (1 << (x))

/* What a node's window knows of an id: struct zn_served. */
#define ABSENT 0
#define RUNS 1
#define OK 2
#define NO 3
byte window[NODES * IDS];
byte floors[NODES]; /* zn_origin.floor, of the one client */
byte life[NODES];
byte restarts;

/* The coordinator's calls, one for each id: struct zn_call. */
#define FREE 0
#define AT_SELF 1
#define OPEN 2
#define REPORTED 3
#define REACHED 1
#define MISSED 2
#define REFUSED_BY_SELF 3
byte call[IDS];
byte status[IDS];
byte have[IDS];
byte call_floor[IDS * LIVES]; /* by life of the coordinator too: old copies go on carrying theirs */
byte need;                    /* the same for all calls */

/* Its rows: enum zn_row_state, and of a settled row the outcome. That of SELF is its own. */
#define IDLE 0
#define QUEUED 1
#define SENT 2 /* AGAIN too: what was sent may be sent again at any time */
#define ACKED 3
#define REFUSED 4
#define UNKNOWN 5
#define NEVER_SENT 6
byte row[NODES * IDS];
byte pin[NODES * IDS];  /* zn_track.life */
byte learned[NODES];    /* zn_peer.life, of each peer; that of SELF is what the client learned */

/* The client's calls: its row at the coordinator, by the same rules. SETTLED: it has finished. */
#define SETTLED ACKED
byte asked[IDS];
byte asked_life[IDS];

/* The network. */
byte submits[IDS * LIVES];                  /* by submit_of(): the set of floors that they carry */
bool requests[PEERS * IDS * LIVES * LIVES]; /* by copy_of() */
byte replies[PEERS * IDS * LIVES * LIVES];  /* by copy_of(): the set of what they say */
#define REFUSAL 1 /* of the peer, not its handler: too old, or another life */

/* What really happened. Nobody in the protocol reads these. */
byte ran[NODES * IDS];       /* in which lives */
byte agreed[NODES * IDS];    /* in which of them the handler returned success */
byte pins[NODES * IDS];      /* to which lives this life of the coordinator pinned the row */
byte forgotten[NODES];       /* up to here ids were finished or forgotten in this life */
byte shown[NODES * IDS];     /* the rows of the receipt that was sent last */
byte shown_status[IDS];

/* The properties, by the name of their breach. */
hidden byte ran_twice_in_a_life, ran_in_two_lives, ran_below_the_floor, ran_though_never_sent;
hidden byte quorum_without_acks, ack_of_another_life, two_receipts_differ, bounced_unasked;
hidden byte lost_by_a_floor;
#define must_not(breach, condition) breach = (condition); assert(!breach)

/* What each step chooses; and what it works with: a d_step that is undone does not undo these. */
hidden byte n, p, i, b, a;
hidden byte f, j, k, m, acks, was, says;
#define choose(var, first, last) var = first; do :: var < last -> var++ :: break od

/* ---- the window of every node ---- */

/* serve.c: deliver(). */
inline run_handler(node, id)
{
    must_not(ran_twice_in_a_life, ran[at(node, id)] & bit(life[node]));
    must_not(ran_in_two_lives, !idempotent && ran[at(node, id)] != 0);
    must_not(ran_below_the_floor, id <= forgotten[node]);
    must_not(ran_though_never_sent, !idempotent && row[at(node, id)] == NEVER_SENT);
    window[at(node, id)] = RUNS;
    ran[at(node, id)] = ran[at(node, id)] | bit(life[node])
}

/* zn_served_is_done(): of the coordinator's slots, whose call holds a receipt; of all others the
 * time of a handler that still runs may be over. */
inline count_open(id)
{
    k = 0;
    for (j : 1 .. PEERS) { if :: row[at(j, id)] < SETTLED -> k++ :: else fi }
}
#define may_go(node, id) \
    (window[at(node, id)] != ABSENT && \
     ((node) != SELF || call[(id) - 1] == FREE || (call[(id) - 1] == REPORTED && k == 0)))

/* zn_window_forget(): the slot, and with it the call. */
inline window_forget(node, id)
{
    window[at(node, id)] = ABSENT;
    if
    :: node == SELF -> call[id - 1] = FREE
    :: else
    fi
}

/* zn_window_free(), of window_evict() and zn_calls_give_up_kept(): too old from now on. */
inline give_back()
{
    choose(n, 0, PEERS);
    choose(i, 1, IDS);
    d_step {
        count_open(i);
        if
        :: may_go(n, i) ->
#ifdef RECEIPT_FORGOTTEN /* the receipt goes, the id stays */
            if
            :: n == SELF -> call[i - 1] = FREE
            :: else
            fi;
#else
            window_forget(n, i);
            if
            :: forgotten[n] < i -> forgotten[n] = i
            :: else
            fi;
#ifndef FORGETFUL
            if
            :: floors[n] < i -> floors[n] = i
            :: else
            fi
#endif
#endif
        :: else
        fi;
        skip
    }
}

/* floor_raise(). What is still needed stays, and is known. */
inline floor_raise(node, floor)
{
    if
    :: floor > floors[node] -> floors[node] = floor
    :: else
    fi;
    if
    :: floor > forgotten[node] -> forgotten[node] = floor
    :: else
    fi;
    for (f : 1 .. IDS) {
        count_open(f);
        if
        :: f <= floors[node] && may_go(node, f) && window[at(node, f)] != RUNS ->
            window_forget(node, f)
        :: else
        fi
    }
}

/* ---- the client: call.c, rows.c, deadline.c with zn_is_client() ---- */

/* zn_own_floor(): all before the oldest that has not finished. */
inline own_floor()
{
    f = 0;
    for (j : 1 .. IDS) {
        if
        :: f == j - 1 && asked[j - 1] == SETTLED -> f = j
        :: else
        fi
    }
}

/* client_run(), zn_call_tick(): the first time and again; request_message(). */
inline client_sends()
{
    choose(i, 1, IDS);
    d_step {
        if
        :: asked[i - 1] != SETTLED && learned[SELF] != 0 ->
            if
            :: asked_life[i - 1] == 0 -> asked_life[i - 1] = learned[SELF]
            :: else
            fi;
            asked[i - 1] = SENT;
            own_floor();
            submits[submit_of(i, asked_life[i - 1])] =
                submits[submit_of(i, asked_life[i - 1])] | bit(f)
        :: else
        fi;
        skip
    }
}

/* zn_peer_hello_answer() and row_meets_life(). */
inline client_learns()
{
    choose(b, 1, life[SELF]);
    d_step {
        learned[SELF] = b;
        for (m : 1 .. IDS) {
            if
            :: asked[m - 1] != SENT || asked_life[m - 1] == b
            :: else ->
                if
                :: may_cross -> asked_life[m - 1] = b
                :: else -> asked[m - 1] = SETTLED
                fi
            fi
        };
        skip
    }
}

/* client_answered(), or zn_row_give_up(): it has finished, with a receipt or without. What the
 * receipt says is checked where it is sent. */
inline client_finishes()
{
    choose(i, 1, IDS);
    asked[i - 1] = SETTLED
}

/* ---- the coordinator ---- */

/* emit_receipt(), with rows_show_pending(). A repeat gets the same receipt; a row that was not
 * settled then may say more. */
inline send_receipt(id)
{
    was = shown_status[id - 1];
    must_not(two_receipts_differ, was != 0 && was != status[id - 1]);
    shown_status[id - 1] = status[id - 1];
    for (j : 0 .. PEERS) {
        k = (row[at(j, id)] < SETTLED -> UNKNOWN : row[at(j, id)]);
        was = shown[at(j, id)];
        must_not(two_receipts_differ, was != 0 && was != UNKNOWN && was != k);
        shown[at(j, id)] = k
    }
}

/* Replicas that have really run it, in a life that was asked, and agreed. */
inline count_acks(id)
{
    acks = ((agreed[at(SELF, id)] & bit(life[SELF])) != 0 -> 1 : 0);
    for (j : 1 .. PEERS) {
        if
        :: (agreed[at(j, id)] & pins[at(j, id)]) != 0 -> acks++
        :: else
        fi
    }
}

/* zn_call_complete(). */
inline complete(id, how)
{
    status[id - 1] = how;
    call[id - 1] = REPORTED;
    count_acks(id);
    must_not(quorum_without_acks, how == REACHED && acks < need);
    send_receipt(id)
}

/* replica_evaluate(). */
inline evaluate(id)
{
    count_open(id);
    if
    :: call[id - 1] == OPEN && have[id - 1] >= need -> complete(id, REACHED)
    :: call[id - 1] == OPEN && have[id - 1] + k < need -> complete(id, MISSED)
    :: else
    fi
}

/* zn_call_row_settled(). */
inline settle(peer, id, outcome)
{
    must_not(ran_though_never_sent, outcome == NEVER_SENT && !idempotent && ran[at(peer, id)] != 0);
    row[at(peer, id)] = outcome;
    if
    :: outcome == ACKED -> have[id - 1] = have[id - 1] + 1
    :: else
    fi;
    evaluate(id)
}

/* bounce(): a peer of the set `down` gets nothing, and never will. */
inline bounce(id, down)
{
    must_not(bounced_unasked, window[at(SELF, id)] != OK);
    for (j : 1 .. PEERS) {
        row[at(j, id)] = ((down & bit(j)) != 0 -> NEVER_SENT : QUEUED);
        pin[at(j, id)] = 0
    }
    row[at(SELF, id)] = ACKED;
    have[id - 1] = 1;
    call[id - 1] = OPEN;
    evaluate(id)
}

/* zn_window_floor(): not above an older one that is still on its way to somebody. */
inline window_floor(id, floor)
{
    call_floor[submit_of(id, life[SELF])] = floor;
#ifndef FLOOR_UNCHECKED
    for (f : 1 .. IDS) {
        count_open(f);
        if
        :: f != id && call[f - 1] != FREE && k > 0 && call_floor[submit_of(id, life[SELF])] >= f ->
            call_floor[submit_of(id, life[SELF])] = f - 1
        :: else
        fi
    }
#endif
}

/* coordinate() of an id that is new here: our own handler comes first. */
inline coordinate(id, floor)
{
    window_floor(id, floor);
    for (j : 0 .. PEERS) {
        row[at(j, id)] = IDLE;
        pin[at(j, id)] = 0
    }
    have[id - 1] = 0;
    call[id - 1] = AT_SELF;
    run_handler(SELF, id)
}

/* serve_submit(), admit(), zn_window_find(). Refusals say nothing that giving up does not. */
inline submit_arrives()
{
    choose(i, 1, IDS);
    choose(a, 0, i - 1); /* the floor that it carries */
#ifdef ANY_LIFE
    choose(b, 1, life[SELF]);
#else
    b = life[SELF]; /* zn_meant_for() */
#endif
    d_step {
        if
        :: (submits[submit_of(i, b)] & bit(a)) == 0
        :: else ->
            floor_raise(SELF, a);
            if
            :: window[at(SELF, i)] == ABSENT && i <= floors[SELF] /* ETOOOLD */
            :: window[at(SELF, i)] == ABSENT && i > floors[SELF] -> coordinate(i, a)
            :: window[at(SELF, i)] == OK && call[i - 1] == FREE -> bounce(i, 0)
            :: call[i - 1] == REPORTED -> send_receipt(i)
            :: else
            fi
        fi;
        skip
    }
}

/* zn_serve_answer(), zn_call_self_done(); bounce_nothing() if it refuses. */
inline self_answers()
{
    choose(i, 1, IDS);
    choose(n, OK, NO);
    choose(p, 0, bit(PEERS) - 1); /* those that are down */
    d_step {
        if
        :: window[at(SELF, i)] != RUNS
        :: else ->
            window[at(SELF, i)] = n;
            if
            :: n == OK -> agreed[at(SELF, i)] = agreed[at(SELF, i)] | bit(life[SELF])
            :: else
            fi;
            if
            :: call[i - 1] == AT_SELF && n == OK -> bounce(i, p * 2)
            :: call[i - 1] == AT_SELF && n == NO ->
                row[at(SELF, i)] = REFUSED;
                for (j : 1 .. PEERS) { row[at(j, i)] = NEVER_SENT }
                complete(i, REFUSED_BY_SELF)
            :: else
            fi
        fi;
        skip
    }
}

/* zn_call_settle_all() of a call whose own handler is late: nothing is bounced. */
inline self_is_late()
{
    choose(i, 1, IDS);
    d_step {
        if
        :: call[i - 1] == AT_SELF ->
            row[at(SELF, i)] = UNKNOWN;
            for (j : 1 .. PEERS) { row[at(j, i)] = NEVER_SENT }
            complete(i, MISSED)
        :: else
        fi;
        skip
    }
}

/* emit_request(), zn_row_sent(): the first time and again. */
inline request_leaves()
{
    choose(p, 1, PEERS);
    choose(i, 1, IDS);
    d_step {
        if
        :: (row[at(p, i)] != QUEUED && row[at(p, i)] != SENT) || learned[p] == 0
        :: else ->
            if
            :: row[at(p, i)] == QUEUED ->
                row[at(p, i)] = SENT;
                pin[at(p, i)] = learned[p];
                pins[at(p, i)] = pins[at(p, i)] | bit(learned[p]);
#ifdef SENDS_COUNT
                have[i - 1] = have[i - 1] + 1
#endif
            :: else
            fi;
            for (f : 1 .. call_floor[submit_of(i, life[SELF])]) {
                count_open(f);
                must_not(lost_by_a_floor, call[f - 1] != FREE && k > 0)
            }
            requests[copy_of(p, i, pin[at(p, i)], life[SELF])] = true;
            evaluate(i)
        fi;
        skip
    }
}

/* zn_peer_greeted(), life_learn(), row_meets_life(). */
inline coordinator_learns()
{
    choose(p, 1, PEERS);
    choose(b, 1, life[p]);
    d_step {
        learned[p] = b;
        for (m : 1 .. IDS) {
            if
            :: row[at(p, m)] != SENT || pin[at(p, m)] == b
            :: else ->
                if
                :: may_cross ->
                    pin[at(p, m)] = b;
                    pins[at(p, m)] = pins[at(p, m)] | bit(b)
                :: else -> settle(p, m, UNKNOWN)
                fi
            fi
        };
        skip
    }
}

/* zn_row_give_up(): the peer is down, the time is over, or the place is needed. */
inline row_ends()
{
    choose(p, 1, PEERS);
    choose(i, 1, IDS);
    d_step {
        if
        :: row[at(p, i)] == QUEUED -> settle(p, i, NEVER_SENT)
        :: row[at(p, i)] == SENT -> settle(p, i, UNKNOWN)
        :: else
        fi;
        skip
    }
}

/* row_answered(), row_rejected(). */
inline row_answered(said)
{
    if
    :: said == OK ->
        must_not(ack_of_another_life, (pins[at(p, i)] & bit(b)) == 0);
        settle(p, i, ACKED)
    :: said == NO -> settle(p, i, REFUSED)
    :: said == REFUSAL ->
#ifdef REFUSAL_PROVES
        settle(p, i, NEVER_SENT)
#else
        settle(p, i, UNKNOWN)
#endif
    :: else
    fi
}

/* zn_call_reply(). That a reply comes from life b is known here and not to the coordinator. */
inline reply_arrives()
{
    choose(p, 1, PEERS);
    choose(i, 1, IDS);
    choose(b, 1, life[p]);
    choose(n, REFUSAL, NO);
#ifdef ANY_ASKER
    choose(a, 1, life[SELF]);
#else
    a = life[SELF]; /* zn_meant_for() */
#endif
    d_step {
        if
        :: (replies[copy_of(p, i, b, a)] & bit(n)) == 0
        :: else ->
            if
            :: call[i - 1] == FREE || call[i - 1] == AT_SELF /* nothing was asked */
            :: row[at(p, i)] == SENT && pin[at(p, i)] == learned[p] -> row_answered(n)
#ifdef ACKS_COUNT_TWICE
            :: row[at(p, i)] == ACKED && n == OK && call[i - 1] == OPEN ->
                have[i - 1] = have[i - 1] + 1;
                evaluate(i)
#endif
            :: else
            fi
        fi;
        skip
    }
}

/* ---- a peer ---- */

/* serve_request(), admit(), zn_window_find(): a is the asker's life, b the one that is meant. A
 * request that is known and still runs is answered when a copy of it comes again. */
inline request_arrives()
{
    choose(p, 1, PEERS);
    choose(i, 1, IDS);
    choose(b, 1, life[p]);
    choose(a, 1, life[SELF]);
    d_step {
        says = 0;
        if
        :: !requests[copy_of(p, i, b, a)]
        :: else ->
            if
#ifndef ANY_LIFE
            :: b != life[p] -> says = REFUSAL /* zn_meant_for() */
#endif
            :: else ->
                floor_raise(p, call_floor[submit_of(i, a)]);
                if
                :: window[at(p, i)] == ABSENT && i <= floors[p] ->
                    says = REFUSAL
                :: window[at(p, i)] == ABSENT && i > floors[p] -> run_handler(p, i)
                :: window[at(p, i)] >= OK ->
#ifdef NO_DEDUP
                    run_handler(p, i);
#endif
                    says = window[at(p, i)]
                :: else
                fi
            fi;
            if
            :: says != 0 ->
                replies[copy_of(p, i, life[p], a)] = replies[copy_of(p, i, life[p], a)] | bit(says)
            :: else
            fi
        fi;
        skip
    }
}

/* zn_serve_answer(), zn_window_keep_reply(). */
inline peer_answers()
{
    choose(p, 1, PEERS);
    choose(i, 1, IDS);
    choose(n, OK, NO);
    d_step {
        if
        :: window[at(p, i)] == RUNS ->
            window[at(p, i)] = n;
            if
            :: n == OK -> agreed[at(p, i)] = agreed[at(p, i)] | bit(life[p])
            :: else
            fi
        :: else
        fi;
        skip
    }
}

/* ---- a restart: what is in memory is gone, what is on the network is not ---- */

inline coordinator_forgets()
{
    for (j : 1 .. PEERS) { learned[j] = 0 }
    for (m : 1 .. IDS) {
        call[m - 1] = FREE;
        status[m - 1] = 0;
        shown_status[m - 1] = 0;
        have[m - 1] = 0;
        for (j : 0 .. PEERS) {
            row[at(j, m)] = IDLE;
            pin[at(j, m)] = 0;
            pins[at(j, m)] = 0;
            shown[at(j, m)] = 0
        }
    }
}

inline restart()
{
    choose(n, 0, PEERS);
    d_step {
        if
        :: restarts < RESTARTS ->
            restarts++;
            life[n]++;
            floors[n] = 0;
            forgotten[n] = 0;
            for (m : 1 .. IDS) { window[at(n, m)] = ABSENT }
            if
            :: n == SELF -> coordinator_forgets()
            :: else
            fi
        :: else
        fi;
        skip
    }
}

active proctype world()
{
    atomic {
        for (n : 0 .. PEERS) { life[n] = 1 }
        choose(need, 2, PEERS + 2)
    }
end:
    do
    :: atomic { client_sends() }
    :: atomic { client_learns() }
    :: atomic { client_finishes() }
    :: atomic { submit_arrives() }
    :: atomic { self_answers() }
    :: atomic { self_is_late() }
    :: atomic { request_leaves() }
    :: atomic { coordinator_learns() }
    :: atomic { row_ends() }
    :: atomic { reply_arrives() }
    :: atomic { request_arrives() }
    :: atomic { peer_answers() }
    :: atomic { give_back() }
    :: atomic { restart() }
    od
}
