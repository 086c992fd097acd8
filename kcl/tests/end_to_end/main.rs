//! Whole workers on the simulated service, through the real SDK client, on virtual time.
//!
//! Each promise about the consumer has a test that is named for it; runs by seed judge all of them besides.
//!
//! | promise | test |
//! | --- | --- |
//! | C1 at least once | `what_a_crashed_worker_did_not_checkpoint_comes_again`, `half_of_all_reads_failing_costs_time_only` |
//! | C2 contiguous in a tenure | `a_quiet_run_delivers_every_record_exactly_once_in_order`, `faults_of_reading_neither_skip_nor_repeat` |
//! | C3 a checkpoint covers what was handed over | `a_checkpoint_outside_the_delivered_range_is_refused_in_a_sentence` |
//! | C4 a checkpoint never goes back | `a_checkpoint_whose_answer_was_lost_is_recognised_as_written`, and `checkpoint/positions.rs` |
//! | C5 only the owner checkpoints | `a_checkpoint_after_the_loss_names_the_new_owner_and_writes_nothing` |
//! | C6 nothing skipped between tenures | `a_crash_is_taken_over_from_the_checkpoint_within_the_failover_time` |
//! | C7 inside an aggregate | `a_new_worker_resumes_inside_an_aggregate_behind_the_checkpoint` |
//! | C8 parents first | `a_merged_shard_waits_for_both_parents`, `reshards_nested_inside_one_poll_are_followed_generation_by_generation` |
//! | C9 the end is earned | `the_end_is_told_only_once_the_children_have_leases`, `a_stream_that_vanishes_is_told_and_ends_the_worker` |
//! | C10 no hole | `a_missing_lease_behind_a_finished_shard_is_made_again` |
//! | C11 rows go last | `finished_leases_are_deleted_once_their_children_have_begun` |
//! | C12 life of a processor | `a_lost_lease_is_told_once_and_nothing_follows`, and `World::check_order` in every test |
//! | C13 failing loses nothing | `a_failing_batch_comes_again_whole_and_the_next_one_waits`, `a_panicking_processor_is_given_the_same_batch_again` |
//! | C14 de-aggregation drops nothing | `broken_aggregates_are_told_and_handed_over_whole` |
//! | C15 iterators | `faults_of_reading_neither_skip_nor_repeat`, `cut_subscriptions_neither_skip_nor_repeat` |
//! | C16 bounded memory | `a_stalled_processor_stops_the_reads_of_its_shard` |
//! | H1, H2 hand-over in order, without repeats | `a_lease_that_is_asked_for_lets_its_processor_checkpoint_first` |
//! | H3 a hand-over cannot stick | `whoever_dies_stops_or_restarts_at_any_step_the_lease_goes_on`, `a_call_too_long_for_a_hand_over_ends_in_lease_lost_and_only_its_batch_comes_twice`, and `lease/model_tests.rs` |
//! | H4 a shutdown ends | `a_processor_that_never_returns_is_stopped_by_force_at_the_end_of_the_grace` |

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "the paused clock of the test's own runtime")]

mod world;

mod delivery;
mod each_call;
mod edges;
mod fan_out;
mod handover;
mod handover_steps;
mod identity;
mod latest;
mod leases;
mod observing;
mod options;
mod pausing;
mod processing;
mod resharding;
mod retention;
mod scanning;
mod streams;
mod streams_replaced;
mod streams_ways;
