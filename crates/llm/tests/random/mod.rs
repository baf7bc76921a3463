//! Random numbers for tests, the same on every run.

#![allow(dead_code, reason = "no test needs all of them")]

/// A splitmix64 generator.
pub struct Random(pub u64);

impl Random {
    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.u64() % n as u64) as usize
    }

    /// Roughly normal, variance 1.
    pub fn normal(&mut self) -> f32 {
        let uniform = |bits: u64| (bits & 0xffff) as f32 / 65536.0 - 0.5;
        let bits = self.u64();
        (uniform(bits) + uniform(bits >> 16) + uniform(bits >> 32) + uniform(bits >> 48)) * 1.7320508
    }

    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}
