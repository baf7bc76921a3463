//! The buckets of T5's relative position bias.

use tensor::simd::RelativeBuckets;

/// The buckets that llama.cpp computes, of 32; for keys after the query, add 16.
#[test]
fn near_distances_have_buckets_of_their_own_and_farther_ones_share() {
    let buckets = RelativeBuckets::new(32);
    for (distance, bucket) in [
        (0, 0),
        (1, 1),
        (7, 7),
        (8, 8),
        (11, 8),
        (12, 9),
        (15, 9),
        (16, 10),
        (64, 14),
        (91, 15),
        (127, 15),
        (500, 15),
    ] {
        assert_eq!(buckets.bucket(1000 - distance, 1000), bucket, "{distance} before");
        let behind = if distance == 0 { 0 } else { 16 + bucket };
        assert_eq!(buckets.bucket(1000 + distance, 1000), behind, "{distance} behind");
    }
}
