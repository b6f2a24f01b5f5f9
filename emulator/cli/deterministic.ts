/** What stands in for this computer's own time where a run is to be repeatable. */

/** Instructions of a slice. */
export const DETERMINISTIC_SLICE = 200_000;

/** 2024-01-01, where the wall clock starts. */
export const EPOCH_NS = 1_704_067_200_000_000_000n;
