//! The marks alone: how far they move, and when a look is worth it.

use super::*;

const LATER: Duration = Duration::from_millis(FENCE_EVERY_MS);

fn claimed(places: &[i64]) -> (LowWater, Instant) {
    let mut low = LowWater::default();
    low.claimed(0, places.iter().map(|p| (7, *p)));
    (low, Instant::now())
}

fn found(look: Look, places: Vec<(i32, i64)>) -> Looked {
    Looked { look, found: Ok(places) }
}

/// Fear: a mark moves without a fence, past what the fence's scan found, or not at all.
#[test]
fn a_mark_moves_as_far_as_the_fence_allows() {
    let (mut low, now) = claimed(&[2_005, 2_000, 2_009]);
    assert_eq!(low.lows(&[7, 8]), [0, 0]);
    let look = low.begin(now).unwrap();
    assert_eq!((&look.from[..], &look.candidates[..]), (&[0][..], &[2_000][..]));
    assert_eq!(low.begin(now + LATER), None, "one at a time");
    assert!(low.looked(now, found(look, vec![(7, 1_500)])).is_empty());
    assert_eq!(low.lows(&[7, 8]), [1_500, 0]);
    low.claimed(0, [(7, 2_600)].into_iter());
    assert_eq!(low.begin(now), None, "not so soon");
    let look = low.begin(now + LATER).unwrap();
    assert!(low.looked(now, found(look, vec![])).is_empty());
    assert_eq!(low.lows(&[7]), [2_600], "nothing was left below");
    low.claimed(0, [(7, 2_600 + FENCE_PLACES_MIN - 1)].into_iter());
    assert_eq!(low.begin(now + 2 * LATER), None, "it is not worth a fence");
}

/// Fear: a fence that began before a message came back moves the mark past it.
#[test]
fn a_return_voids_the_fence_under_way() {
    for returns in [|low: &mut LowWater| assert!(!low.returned(7, 500)), LowWater::reset] {
        let (mut low, now) = claimed(&[2_000]);
        let look = low.begin(now).unwrap();
        returns(&mut low);
        low.claimed(low.resets(), [(7, 3_000)].into_iter());
        assert!(low.looked(now, found(look, vec![])).is_empty());
        assert_eq!(low.lows(&[7]), [0]);
        assert!(low.begin(now + LATER).is_some(), "the next one may begin");
    }
}

/// Fear: the answer of a claim at a server that is no longer ours says how far the lanes of its successor are empty.
#[test]
fn a_claim_from_before_a_reset_says_nothing() {
    let (mut low, now) = (LowWater::default(), Instant::now());
    low.reset();
    low.claimed(0, [(7, 3_000)].into_iter());
    assert_eq!(low.begin(now), None);
}

/// Fear: a message that came back below the mark is not looked for, or one above it costs a look.
#[test]
fn a_return_takes_the_mark_down() {
    let (mut low, now) = claimed(&[2_000]);
    let look = low.begin(now).unwrap();
    low.looked(now, found(look, vec![]));
    assert!(!low.returned(7, 2_000) && !low.returned(8, 1));
    assert_eq!(low.lows(&[7]), [2_000]);
    assert!(low.returned(7, 1_999));
    assert_eq!(low.lows(&[7]), [1_999]);
}

/// Fear: a row that the rule has missed is never found; or the look for it comes so often that it is the load.
#[test]
fn a_look_from_the_start_is_the_net() {
    let (mut low, now) = claimed(&[2_000]);
    let look = low.begin(now).unwrap();
    low.looked(now, found(look, vec![]));
    let due = now + Duration::from_millis(WHOLE_EVERY_MS);
    assert_eq!(low.begin(due - LATER), None);
    let look = low.begin(due).unwrap();
    assert_eq!((look.whole, &look.from[..], &look.candidates[..]), (true, &[0][..], &[2_000][..]));
    let took = Duration::from_secs(2);
    assert_eq!(low.looked(due + took, found(look, vec![(7, 70)])), [7]);
    assert_eq!(low.lows(&[7]), [70]);
    let next = due + took + took * WHOLE_SHARE;
    assert_eq!(low.whole(next - LATER), None);
    assert!(low.whole(next).is_some());
}
