//! [`Accounts`]: how many tokens each key has used, and whether it may use more.
//!
//! A key that has a limit of tokens per minute has a bucket. The bucket holds at most that many tokens, begins full,
//! and fills evenly. Tokens are taken out as they are computed. How many an answer will need is not known in advance,
//! so a request is admitted while at least one token is left. It may take the level below zero; the key then has to
//! wait until the bucket is above zero again.

use alloc::format;
use alloc::vec::Vec;

use crate::error::{ApiError, Status};
use crate::http::Rate;
use crate::keys::{Key, Keys};

/// One token in the unit of buckets. A limit of one token per minute adds one unit per microsecond.
const TOKEN: i64 = 60_000_000;

/// The bucket of each key, if it has one.
pub(super) struct Accounts(Vec<Option<Bucket>>);

/// The tokens that a key has left.
struct Bucket {
    per_minute: u32,
    /// What is in the bucket, in units of 1/[`TOKEN`] of a token; at most a minute's worth.
    level: i64,
    /// When the level was right.
    at_us: u64,
}

impl Accounts {
    /// Accounts for `keys`; none has used any tokens.
    ///
    /// # Errors
    /// If there is no memory for the accounts.
    pub fn new(keys: &Keys) -> Result<Self, ApiError> {
        let mut buckets = Vec::new();
        buckets.try_reserve_exact(keys.all().len()).map_err(|_| ApiError::out_of_memory())?;
        buckets.extend(keys.all().iter().map(|key| key.limits.tokens_per_minute.map(Bucket::new)));
        Ok(Self(buckets))
    }

    fn bucket(&mut self, key: Option<usize>, now_us: u64) -> Option<&mut Bucket> {
        let bucket = self.0.get_mut(key?)?.as_mut()?;
        bucket.fill(now_us);
        Some(bucket)
    }

    /// Checks whether a request with this key may be answered, while `n_running` other requests with this key are
    /// being answered.
    ///
    /// # Errors
    /// What the key has to wait for.
    pub fn admit(&mut self, keys: &Keys, key: usize, n_running: usize, now_us: u64) -> Result<(), ApiError> {
        let Some(Key { name, limits, .. }) = keys.all().get(key) else { return Ok(()) };
        let (limit, what, wait_s) = match (limits.running, self.bucket(Some(key), now_us)) {
            (Some(limit), _) if n_running >= limit as usize => (limit, "requests at a time", 1),
            (_, Some(bucket)) => {
                (bucket.per_minute, "tokens in a minute", bucket.wait_us(TOKEN).div_ceil(1_000_000))
            }
            _ => return Ok(()),
        };
        if wait_s == 0 {
            return Ok(());
        }
        let message = format!("key {name} may have {limit} {what}; try again in {wait_s} s");
        let refused = ApiError::new(Status::TooManyRequests, message).with_code("rate_limit_exceeded");
        Err(ApiError { retry_after_s: Some(wait_s.try_into().unwrap_or(u32::MAX)), ..refused })
    }

    /// Charges a key for tokens that were computed for it.
    pub fn charge(&mut self, key: Option<usize>, n_tokens: usize, now_us: u64) {
        if let Some(bucket) = self.bucket(key, now_us) {
            let n_tokens = i64::try_from(n_tokens).unwrap_or(i64::MAX);
            bucket.level = bucket.level.saturating_sub(n_tokens.saturating_mul(TOKEN));
        }
    }

    /// What a key has left, in the form in which its clients are told.
    pub fn rate(&mut self, key: Option<usize>, now_us: u64) -> Option<Rate> {
        let bucket = self.bucket(key, now_us)?;
        Some(Rate {
            limit: bucket.per_minute,
            remaining: (bucket.level / TOKEN).max(0) as u32,
            reset_us: bucket.wait_us(bucket.most()),
        })
    }
}

impl Bucket {
    fn new(per_minute: u32) -> Self {
        let bucket = Self { per_minute, level: 0, at_us: 0 };
        Self { level: bucket.most(), ..bucket }
    }

    fn most(&self) -> i64 {
        i64::from(self.per_minute) * TOKEN
    }

    fn fill(&mut self, now_us: u64) {
        let us = now_us.saturating_sub(self.at_us);
        let gained = i64::try_from(u128::from(us) * u128::from(self.per_minute)).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(gained).min(self.most());
        self.at_us = self.at_us.max(now_us);
    }

    /// How long it takes until the bucket is filled to `level`.
    fn wait_us(&self, level: i64) -> u64 {
        let missing = level.saturating_sub(self.level).max(0) as u64;
        missing.div_ceil(u64::from(self.per_minute))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accounts(file: &str) -> (Keys, Accounts) {
        let keys = Keys::parse(file).unwrap();
        let accounts = Accounts::new(&keys).unwrap();
        (keys, accounts)
    }

    #[test]
    fn a_bucket_begins_full_fills_evenly_and_may_be_overdrawn() {
        let (keys, mut accounts) = accounts("k name=ci tokens_per_minute=60");
        let rate = |accounts: &mut Accounts, now_us| {
            let Rate { limit, remaining, reset_us } = accounts.rate(Some(0), now_us).unwrap();
            (limit, remaining, reset_us)
        };
        assert_eq!(rate(&mut accounts, 0), (60, 60, 0));
        accounts.charge(Some(0), 61, 0);
        assert_eq!(rate(&mut accounts, 0), (60, 0, 61_000_000));
        let refused = accounts.admit(&keys, 0, 0, 0).unwrap_err();
        assert_eq!((refused.status, refused.retry_after_s()), (Status::TooManyRequests, Some(2)));
        assert_eq!(refused.message, "key ci may have 60 tokens in a minute; try again in 2 s");
        assert_eq!(accounts.admit(&keys, 0, 0, 1_999_999).unwrap_err().retry_after_s(), Some(1));
        assert!(accounts.admit(&keys, 0, 0, 2_000_000).is_ok());
        // If the clock goes back, nothing is added.
        assert_eq!(rate(&mut accounts, 0), (60, 1, 59_000_000));
        assert_eq!(rate(&mut accounts, u64::MAX), (60, 60, 0));
        accounts.charge(Some(0), usize::MAX, u64::MAX);
        assert_eq!(rate(&mut accounts, u64::MAX).1, 0);
    }

    #[test]
    fn who_has_no_limit_and_who_has_no_key_are_let_in() {
        let (keys, mut accounts) = accounts("k1 name=a\nk2 running=2 name=b");
        accounts.charge(Some(0), usize::MAX, 0);
        accounts.charge(None, usize::MAX, 0);
        assert!(accounts.admit(&keys, 0, 1000, 0).is_ok() && accounts.rate(Some(0), 0).is_none());
        assert!(accounts.admit(&keys, 1, 1, 0).is_ok());
        let refused = accounts.admit(&keys, 1, 2, 0).unwrap_err();
        assert_eq!(refused.message, "key b may have 2 requests at a time; try again in 1 s");
    }

    proptest! {
        /// Whatever the order of events, a key gets no more than its bucket, the tokens that refill it, and what its
        /// last request overdrew.
        #[test]
        fn no_more_is_used_than_is_given(
            per_minute in 1_u32..100_000,
            asked in prop::collection::vec((0_u64..30_000_000, 1_usize..5000), 1..200),
        ) {
            let (keys, mut accounts) = accounts(&format!("k tokens_per_minute={per_minute}"));
            let (mut now_us, mut used, mut last) = (0_u64, 0_u64, 0);
            for (pause_us, n_tokens) in asked {
                now_us += pause_us;
                match accounts.admit(&keys, 0, 0, now_us) {
                    Ok(()) => {
                        accounts.charge(Some(0), n_tokens, now_us);
                        used += n_tokens as u64;
                        last = n_tokens as u64;
                    }
                    // A client that comes back at the time it was told is admitted.
                    Err(refused) => {
                        let wait_s = u64::from(refused.retry_after_s.unwrap());
                        prop_assert!(accounts.admit(&keys, 0, 0, now_us + 1_000_000 * wait_s).is_ok());
                        now_us += 1_000_000 * wait_s;
                    }
                }
                let given = u128::from(per_minute) * u128::from(60_000_000 + now_us) / 60_000_000;
                prop_assert!(u128::from(used - last) <= given, "{used} of {given}");
            }
        }
    }
}
