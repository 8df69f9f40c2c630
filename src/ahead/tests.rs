use super::*;

/// Most ahead of the scene's workers.
const MOST: usize = 8 * AHEAD_PER_WORKER;

fn quick(ahead: &mut Ahead<u32>, now: Instant) {
    (0..pace::RUNS_MIN).for_each(|_| ahead.ran(now, Duration::from_micros(10)));
}

/// With eight quick workers and a backlog.
fn busy(now: Instant) -> Ahead<u32> {
    let mut ahead = Ahead::default();
    ahead.allow(8, 1);
    ahead.claimed(8, 5, true);
    quick(&mut ahead, now);
    grown(&mut ahead, now);
    ahead
}

/// After claims whose messages did not wait.
fn grown(ahead: &mut Ahead<u32>, now: Instant) {
    (0..8).for_each(|_| ahead.keep(now, []));
}

/// Fear: a queue of one worker loses its order, one without retries its messages; or a claim on the way to sleep takes more
/// than it has workers for.
#[test]
fn nothing_ahead_unless_all_allows_it() {
    let now = Instant::now();
    assert_eq!(busy(now).room(now, 0), MOST);
    for (workers, retries, normal) in [(1, 3, 5), (8, 0, 5), (8, 3, 4)] {
        let mut ahead = busy(now);
        ahead.allow(workers, retries);
        ahead.claimed(8, normal, true);
        assert_eq!(ahead.room(now, 0), 0);
    }
}

/// Fear: of a stream, that leaves nothing behind, each claim takes as few as there are idle workers, and costs as much as a large
/// one; or its messages wait here while another instance has idle workers.
#[test]
fn of_a_stream_as_many_as_soon_start() {
    let now = Instant::now();
    for (got, room) in [(3, 0), (4, MOST)] {
        let mut ahead = busy(now);
        ahead.claimed(got, got, false);
        assert_eq!(ahead.room(now, 1), room, "{got} found");
        assert_eq!(ahead.room(now, 0), 0, "no worker is idle");
    }
    let mut ahead = busy(now);
    ahead.claimed(8, 8, false);
    (0..1_000).for_each(|_| ahead.ran(now, STREAM_FOR / 2));
    assert_eq!(ahead.room(now, 1), 2 * 8);
    (0..100_000).for_each(|_| ahead.ran(now, STREAM_FOR * 2));
    assert_eq!(ahead.room(now, 1), 0);
}

/// Fear: more wait than are soon started, or than a kill may charge.
#[test]
fn what_waits_is_bounded() {
    let now = Instant::now();
    let mut ahead = busy(now);
    assert_eq!(ahead.room(now, 0), MOST);
    (0..pace::RUNS_MIN).for_each(|_| ahead.ran(now, AHEAD_FOR / 4));
    assert_eq!(ahead.room(now, 0), 8 * 7, "an eighth of AHEAD_FOR each, and a little");
    ahead.allow(1_000, 1);
    grown(&mut ahead, now);
    assert_eq!(ahead.room(now, 0), AHEAD_MAX);
    ahead.keep(now, [1, 2, 3]);
    assert_eq!(ahead.next(now, 1), [1], "first come first");
    assert_eq!(ahead.room(now, 0), 0, "more than half are there still");
    assert_eq!(ahead.next(now, 1), [2]);
    assert_eq!(ahead.room(now, 0), AHEAD_MAX - 1, "what waits counts");
}

/// Fear: workers go through what was claimed ahead while a high message waits for one of them; or nobody hears that it runs low,
/// and all idle until the next claim has answered.
#[test]
fn workers_take_what_waits_if_they_may() {
    let now = Instant::now();
    let mut ahead = busy(now);
    ahead.keep(now, [1, 2, 3, 4, 5]);
    assert_eq!(ahead.pop(now), (None, false), "not before it was said");
    ahead.serve_themselves(true);
    assert_eq!([ahead.pop(now), ahead.pop(now)], [(Some(1), false), (Some(2), false)]);
    assert_eq!([ahead.pop(now), ahead.pop(now)], [(Some(3), true), (Some(4), false)], "told once");
    ahead.keep(now, [6]);
    ahead.serve_themselves(false);
    assert_eq!(ahead.pop(now), (None, false));
    ahead.serve_themselves(true);
    assert_eq!([ahead.pop(now), ahead.pop(now), ahead.pop(now)], [(Some(5), true), (Some(6), false), (None, false)]);
}

/// Fear: a message waits on behind slow ones; or what was handed back is claimed again at once, for ever.
#[test]
fn what_is_late_goes_back_and_pauses() {
    let start = Instant::now();
    let mut ahead = busy(start);
    ahead.keep(start, [1]);
    let first = start + WAIT_MAX;
    ahead.keep(first, [2]);
    assert!(ahead.late(first - Duration::from_micros(1)).is_empty());
    assert_eq!(ahead.late(first), [1, 2], "those behind it start later still");
    assert_eq!(ahead.until(), None);
    quick(&mut ahead, first + PAUSE / 2);
    grown(&mut ahead, first + PAUSE / 2);
    assert_eq!(ahead.room(first + PAUSE / 2, 0), 0);
    let mut now = first + PAUSE;
    quick(&mut ahead, now);
    ahead.keep(now, []);
    assert_eq!(ahead.room(now, 0), 8, "it begins small: all of before would be late again");
    grown(&mut ahead, now);
    assert_eq!(ahead.room(now, 0), MOST);
    // It does not help: the pauses double, up to a limit, and are short again when it had helped for long.
    for pause in [2, 4, 8, 16, 32, 64, 64] {
        ahead.keep(now, [3]);
        now += WAIT_MAX;
        assert_eq!(ahead.late(now), [3]);
        assert_eq!(ahead.pause, pause * PAUSE);
        now += ahead.pause;
    }
    now += ahead.pause;
    ahead.keep(now, [4]);
    ahead.late(now + WAIT_MAX);
    assert_eq!(ahead.pause, PAUSE);
}

/// Fear: a message that kills its process charges every instance's waiting ones, until they are dead letters.
#[test]
fn a_death_shuts() {
    let now = Instant::now();
    let mut ahead = busy(now);
    ahead.death(now);
    assert_eq!(ahead.room(now, 0), 0);
    quick(&mut ahead, now + DEATH_PAUSE);
    assert_eq!(ahead.room(now + DEATH_PAUSE, 0), MOST);
}

/// Fear: workers that are quick each but share two processors are claimed ahead of by their number: all waits too long, always.
#[test]
fn those_that_waited_long_are_fewer_next_time() {
    let mut now = Instant::now();
    let mut ahead = busy(now);
    ahead.keep(now, [1]);
    for (waited, share) in [(6, 256), (11, 128), (11, 64), (11, 32), (6, 32), (1, 64)] {
        now += Duration::from_millis(waited);
        ahead.next(now, 1);
        ahead.keep(now, [1]);
        assert_eq!(ahead.share, share, "after {waited} ms");
    }
}
