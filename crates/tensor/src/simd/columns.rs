//! One vector for each token: a part of the token's row of a matrix.

/// Some columns of a matrix with a row for each token.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'m> {
    /// `[n_tokens][width]`
    pub matrix: &'m [f32],
    /// The length of its rows.
    pub width: usize,
    /// The first of the columns.
    pub first: usize,
    /// Number of columns.
    pub len: usize,
}

impl<'m> Columns<'m> {
    /// Some of these columns, counted from the first of them.
    pub fn part(self, first: usize, len: usize) -> Self {
        debug_assert!(first + len <= self.len);
        Columns { first: self.first + first, len, ..self }
    }

    /// The same columns of some of the tokens.
    ///
    /// # Panics
    ///
    /// This function and the next panic if the matrix has fewer tokens.
    pub fn tokens(self, first: usize, n_tokens: usize) -> Self {
        Columns { matrix: &self.matrix[first * self.width..][..n_tokens * self.width], ..self }
    }

    /// The vector of a token.
    #[inline(always)]
    pub fn token(self, token: usize) -> &'m [f32] {
        &self.matrix[token * self.width + self.first..][..self.len]
    }
}
